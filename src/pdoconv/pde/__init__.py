"""Partial differential equations that are learned, and layers that solve them."""

from pdoconv.pde import degrade as degrade
from pdoconv.pde.block import PDEBlock as PDEBlock
from pdoconv.pde.blowup import BlowUpError as BlowUpError
from pdoconv.pde.classical import heat as heat
from pdoconv.pde.classical import mean_curvature as mean_curvature
from pdoconv.pde.classical import perona_malik as perona_malik
from pdoconv.pde.classical import tv_flow as tv_flow
from pdoconv.pde.files import load as load
from pdoconv.pde.files import save as save
from pdoconv.pde.files import shipped as shipped
from pdoconv.pde.fit import fit as fit
from pdoconv.pde.fit import objective as objective
from pdoconv.pde.greedy import greedy as greedy
from pdoconv.pde.invariants import invariants as invariants
from pdoconv.pde.learned import LearnedPDE as LearnedPDE
from pdoconv.pde.restore import restore as restore
from pdoconv.pde.solvers import integrate as integrate
from pdoconv.pde.tasks import TASKS as TASKS
from pdoconv.pde.tasks import solve as solve
from pdoconv.pde.tasks import task as task
