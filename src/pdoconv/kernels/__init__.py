"""How a group convolution is computed: dense, derivatives first, or through the Fourier transform on the group."""
