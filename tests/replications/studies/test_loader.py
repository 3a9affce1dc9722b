from batchscope.replications.studies.loader import make_task


def test_packed_items_unpack_to_the_pre_allocated_ones() -> None:
    packed, whole = (make_task(is_packed=is_packed) for is_packed in (True, False))
    items = packed.datasets["train"]

    for index in (0, 17, 1023):
        inputs, label = items[index]
        expected = whole.datasets["train"][index]
        assert inputs.equal(expected[0])
        assert label == expected[1]
