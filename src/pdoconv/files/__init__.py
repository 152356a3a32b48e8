"""Networks in files: one safetensors file, numbers and JSON, nothing in it is ever executed."""

from pdoconv.files.store import Saved as Saved
from pdoconv.files.store import load as load
from pdoconv.files.store import read as read
from pdoconv.files.store import save as save
