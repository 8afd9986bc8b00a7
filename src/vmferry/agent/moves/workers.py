"""Words for the workers of this host's jobs, which may be starting when somebody has something to say to them."""

import contextlib
import time

from vmferry.agent.services import LauncherService
from vmferry.config import Config
from vmferry.core.errors import VmferryError
from vmferry.core.move.messages import Abort, Go
from vmferry.jobs import control
from vmferry.jobs.requests import CancelRequest
from vmferry.store.jobs import Jobs

PATIENCE = 15.0  # seconds for a worker to hear what it is told
_LOOK = 0.05  # seconds between two tries


def tell(
    config: Config,
    jobs: Jobs,
    launcher: LauncherService,
    job: str,
    request: CancelRequest | Go | Abort,
    *,
    patience: float = PATIENCE,
) -> bool:
    """Tell a job's worker something; one that does not answer is started.

    Arguments:
        patience: seconds.

    Returns:
        Whether it heard it; if not, the job has ended, or the worker does not start.

    Raises:
        VmferryError: the worker refuses.
    """
    limit = time.monotonic() + patience
    while True:
        try:
            control.call(config.run_folder, job, request)
        except OSError:
            if jobs.get(job).state.ended or time.monotonic() > limit:
                return False
            with contextlib.suppress(VmferryError):
                launcher.start(job)
            time.sleep(_LOOK)  # until its socket is there
        else:
            return True
