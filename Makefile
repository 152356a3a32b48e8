# Two commands for a new user: `make demo` and `make test`. Both make .venv first if it is not there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# torch first, and this build: the newest one would pull several gigabytes of CUDA packages
TORCH ?= torch==2.13.0
DEMO ?= runs/demo
PEER_escnn := escnn==1.0.11
PEER_e2cnn := e2cnn==0.2.3 treverhines-rbf==2025.7.4.1

.PHONY: demo test test-all lint bench bench-peers equivariance families compare restoration flow cifar segmentation convert playground play pictures screenshots notebooks docs clean
.DELETE_ON_ERROR:

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check "$(TORCH)"
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

# Train the small network with the default filters on the 12,000 digits of MNIST-rot, test it, draw two pictures.
demo: $(VENV)/ready
	rm -rf $(DEMO)
	$(BIN)/pdoconv train mnist-rot-small --filters gaussian --fields 6 --train-on all --epochs 7 --weight-decay 0.05 --label-smoothing 0 --dropout 0.1 --run $(DEMO)
	$(BIN)/pdoconv measure $(DEMO)

test: $(VENV)/ready lint
	$(BIN)/python -m pytest

test-all: $(VENV)/ready lint
	$(BIN)/python -m pytest -m ""

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every filter family beside the peers, each in an environment of its own; escnn needs a Fortran compiler.
.venv-escnn/ready .venv-e2cnn/ready: .venv-%/ready: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install -q --disable-pip-version-check "$(TORCH)"
	.venv-$*/bin/pip install -q --disable-pip-version-check $(PEER_$*)
	.venv-$*/bin/pip install -q --disable-pip-version-check -e .
	touch $@

equivariance: $(VENV)/ready .venv-escnn/ready .venv-e2cnn/ready
	.venv-escnn/bin/python benchmarks/equivariance.py --systems escnn
	.venv-e2cnn/bin/python benchmarks/equivariance.py --systems e2cnn-r2conv e2cnn-diffop e2cnn-diffop-gauss
	$(BIN)/python benchmarks/equivariance.py

# Which filter family should be the default? About an hour for one seed of each.
families: $(VENV)/ready
	$(BIN)/python benchmarks/families.py

# Every system on one footing: about two hours; goes on where it was stopped.
compare: $(VENV)/ready
	$(BIN)/pdoconv compare mnist-rot --result results/compare-mnist-rot.json

# Restoration of pictures, learned PDEs beside networks and classical methods: about three hours; goes on where it was
# stopped. Needs train400.npz, bsd68.npz and set12.npz (data/README.md), and `pip install bm3d` (not for commercial use).
COMPARE := $(BIN)/pdoconv compare
restoration: $(VENV)/ready
	$(COMPARE) denoise --result results/restoration-denoise.json
	$(COMPARE) deblur --steps 400 --result results/restoration-deblur.json
	$(COMPARE) inpaint --steps 400 --result results/restoration-inpaint.json
	$(COMPARE) demosaick --steps 400 --systems lpde-general,fill,bilinear,harmonic,tv-flow --result results/restoration-demosaick.json
	$(COMPARE) edges --steps 400 --systems lpde-general,filter,heat,tv-flow --result results/restoration-edges.json
	$(COMPARE) text --steps 400 --systems lpde-general --result results/restoration-text.json
	$(BIN)/python benchmarks/coefficients.py runs/compare

# Optical flow with vectors out, four networks trained three times each: about 50 minutes.
flow: $(VENV)/ready
	$(BIN)/python examples/optical_flow.py

# CIFAR-10 with narrow networks, five epochs each: about an hour and a half; goes on where it was stopped. Needs CIFAR-10
# (data/README.md).
cifar: $(VENV)/ready
	$(BIN)/python benchmarks/cifar.py

# U-Nets on digits at all angles, trained on upright ones: about half an hour; goes on where it was stopped.
segmentation: $(VENV)/ready
	$(BIN)/python benchmarks/segmentation.py

# Published networks converted: sizes, errors, ONNX, speed: about ten minutes.
convert: $(VENV)/ready
	$(BIN)/python benchmarks/convert.py

# The playground's runtime (onnxruntime-web, by npm), and the same page as static files in docs/playground/.
RUNTIME := src/pdoconv/playground/static/vendor/ort-wasm-simd-threaded.wasm
$(RUNTIME): tools/playground/package-lock.json
	$(PYTHON) tools/playground_runtime.py
	touch $@

playground: $(RUNTIME)
	rm -rf docs/playground
	cp -r src/pdoconv/playground/static docs/playground

play: $(VENV)/ready $(RUNTIME)
	$(BIN)/pdoconv play

# The documentation as a site in site/: pages, notebooks, results, reference, playground. Dead links are errors.
docs: $(VENV)/ready playground
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q
	$(BIN)/python tools/site_links.py site

# All pictures of the documentation; screenshots need Chromium.
pictures: $(VENV)/ready
	$(BIN)/python tools/pictures.py

screenshots: $(VENV)/ready $(RUNTIME)
	$(BIN)/python tools/screenshots.py

# Run the notebooks and keep what they show: about a quarter of an hour.
notebooks: $(VENV)/ready
	$(BIN)/python tools/notebooks.py

# Layers beside plain ones, cost over the group's order, and how long a start takes: about three quarters of an hour.
bench: $(VENV)/ready
	$(BIN)/python benchmarks/layer_speed.py --methods auto dense
	$(BIN)/python benchmarks/volume_speed.py
	$(BIN)/python benchmarks/group_order.py
	$(BIN)/python benchmarks/roofline.py
	$(BIN)/python benchmarks/start_speed.py
	$(BIN)/python benchmarks/representations.py
	$(BIN)/python benchmarks/pde_laws.py
	$(BIN)/python benchmarks/augment_speed.py
	$(BIN)/python benchmarks/scaling.py

# Whole networks and starts beside the peers.
bench-peers: $(VENV)/ready .venv-escnn/ready .venv-e2cnn/ready
	$(BIN)/python benchmarks/resnet_speed.py --escnn .venv-escnn/bin/python
	$(BIN)/python benchmarks/networks.py --escnn .venv-escnn/bin/python --e2cnn .venv-e2cnn/bin/python
	$(BIN)/python benchmarks/start_speed.py --escnn .venv-escnn/bin/python --e2cnn .venv-e2cnn/bin/python --result results/bench-start-peers.json

clean:
	rm -rf site .cache docs/playground $(VENV) .venv-escnn .venv-e2cnn runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
