"""What an acquisition method tells its callers about itself."""

from collections.abc import Callable
from dataclasses import dataclass

from alkbald.acquisition.batch import Batch


@dataclass(frozen=True)
class Method:
    """An acquisition method. It is called as its function: `method(log_probs, batch_size, generator=..., **options)`.

    Attributes:
        function: log-probabilities [N, K, C] and a batch size in, a batch out.
        needs_predictions: whether it looks at the log-probabilities; if not, a run need not score the pool for it.
        chooses_size: whether its batches may be smaller than the batch size.
        check_size: refuses a batch that is too large for the memory, before there are predictions (the function refuses
            it too). Its arguments are the shape (N, K, C), the batch size, the memory budget in bytes, and the method's
            options, which must be valid. None: no size is refused.
    """

    function: Callable[..., Batch]
    needs_predictions: bool = True
    chooses_size: bool = False
    check_size: Callable[..., None] | None = None

    def __call__(self, *args: object, **options: object) -> Batch:
        return self.function(*args, **options)
