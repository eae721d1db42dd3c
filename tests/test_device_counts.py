"""How often the program copies to a GPU and waits for it, counted on the emulated one."""

import torch
from conftest import generator
from test_devices import images, make_model, models

from alkbald.inference import evaluate, sample_log_probs

#: Copies that a call of inference may make, whatever the numbers of inputs, masks and chunks. One a dropout layer is
#: needed: masks are drawn on the CPU.
MOST_COPIES = 10
#: Values that an evaluation may read: accuracy, likelihood and the like, not one a mask or a chunk.
MOST_NUMBERS = 4


@models
def test_copies_of_inference_do_not_grow_with_masks_or_chunks_and_nothing_waits(device, name):
    model, inputs = make_model(name).to("cuda"), images(5).to("cuda")
    chunks = []

    def watched(iterable):
        for chunk in iterable:
            chunks.append(len(chunk))
            yield chunk

    copies = {}
    for num_samples in (8, 32):
        for memory_budget, num_chunks in ((None, 1), (1, 5)):
            device.reset()
            chunks.clear()
            options = {"memory_budget": memory_budget, "progress": watched}
            sample_log_probs(model, inputs, num_samples, generator=generator(), **options)
            assert len(chunks) == num_chunks
            assert not device.waits
            copies[num_samples, num_chunks] = device.copies_to_device.total()
            assert device.copies_to_device.total() <= MOST_COPIES, device.copies_to_device
    assert len(set(copies.values())) == 1, copies


@models
def test_evaluation_waits_for_its_few_numbers_alone(device, name):
    model, inputs, labels = make_model(name).to("cuda"), images(40).to("cuda"), (torch.arange(40) % 10).to("cuda")
    counts = []
    for num_samples in (8, 32):
        device.reset()
        evaluate(model, inputs, labels, num_samples, generator=generator())
        counts.append((device.copies_to_device.total(), device.waits.total()))
        assert device.copies_to_device.total() <= MOST_COPIES, device.copies_to_device
        assert device.waits.total() <= MOST_NUMBERS, device.waits
    assert counts[0] == counts[1]
