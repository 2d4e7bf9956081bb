"""Tests of `neuroglancer_scripts.info`: what a document may say, and what is said of one that is wrong."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroglancer_scripts.chunk_grid import ChunkGrid
from neuroglancer_scripts.errors import InvalidInfoError
from neuroglancer_scripts.info import ScaleInfo, info_to_bytes, parse_json, parse_volume_info

Json = dict[str, Any]


def a_scale(**members: Any) -> Json:
    scale = {
        "key": "8nm",
        "size": [100, 200, 30],
        "resolution": [8, 8, 40.5],
        "voxel_offset": [-5, 0, 7],
        "chunk_sizes": [[64, 64, 16]],
        "encoding": "raw",
    }
    return scale | members


def an_info(**members: Any) -> Json:
    info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [a_scale()]}
    return info | members


def problems_of(info: Any) -> tuple[tuple[str, str], ...]:
    with pytest.raises(InvalidInfoError) as caught:
        parse_volume_info(info)
    return caught.value.problems


# -- What is right


def test_the_model_holds_what_the_document_says() -> None:
    """Every member of the format has its place in the model, as plain integers, tuples and text."""
    scale = a_scale(encoding="compressed_segmentation", compressed_segmentation_block_size=[8, 8, 4])
    model = parse_volume_info(an_info(type="segmentation", data_type="uint64", scales=[scale]))
    assert (model.type, model.data_type, model.num_channels) == ("segmentation", "uint64", 1)
    assert model.scales == (
        ScaleInfo(
            key="8nm",
            size_xyz=(100, 200, 30),
            resolution_nm=(8, 8, 40.5),
            chunk_sizes=((64, 64, 16),),
            encoding="compressed_segmentation",
            voxel_offset=(-5, 0, 7),
            compressed_segmentation_block_size=(8, 8, 4),
        ),
    )


def test_a_scale_has_a_grid_for_each_chunk_size() -> None:
    """Each of several chunk sizes has its grid, all of them over the same voxels."""
    model = parse_volume_info(an_info(scales=[a_scale(chunk_sizes=[[64, 64, 64], [32, 512, 1]])]))
    assert model.scales[0].grids == (
        ChunkGrid((100, 200, 30), (64, 64, 64), (-5, 0, 7)),
        ChunkGrid((100, 200, 30), (32, 512, 1), (-5, 0, 7)),
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [([0, 0, 0], (0, 0, 0)), ([-3, -(2**40), 5], (-3, -(2**40), 5)), ([1.0, -2.0, 3e3], (1, -2, 3000))],
    ids=["zero", "negative", "floats"],
)
def test_offsets(written: list[float], read: tuple[int, ...]) -> None:
    """An offset is any three whole numbers, also where they are written as floats."""
    offset = parse_volume_info(an_info(scales=[a_scale(voxel_offset=written)])).scales[0].voxel_offset
    assert offset == read
    assert [type(n) for n in offset] == [int, int, int]


def test_an_offset_that_is_absent_is_zero() -> None:
    """A scale without voxel_offset starts at zero: many datasets in use leave it out."""
    scale = a_scale()
    del scale["voxel_offset"]
    assert parse_volume_info(an_info(scales=[scale])).scales[0].voxel_offset == (0, 0, 0)


def test_names_are_matched_in_any_case() -> None:
    """Names of the format are matched in any case, as the viewer does, and lower in the model."""
    info = an_info(
        **{"@type": "Neuroglancer_Multiscale_Volume"},
        type="IMAGE",
        data_type="UInt8",
        scales=[a_scale(encoding="RAW"), a_scale(key="b", encoding="Crackle")],
    )
    model = parse_volume_info(info)
    assert (model.type, model.data_type) == ("image", "uint8")
    assert [scale.encoding for scale in model.scales] == ["raw", "crackle"]


@pytest.mark.parametrize("encoding", ["fpzip", "kempressed", "zfpc", "crackle", "png", "jxl", "compresso"])
def test_an_encoding_of_other_tools_does_not_spoil_a_dataset(encoding: str) -> None:
    """A scale in an encoding that we do not decode parses, and so do its neighbours."""
    model = parse_volume_info(an_info(scales=[a_scale(), a_scale(key="b", encoding=encoding)]))
    assert [scale.encoding for scale in model.scales] == ["raw", encoding]


def test_sharding_may_be_null() -> None:
    """`"sharding": null` means the same as no sharding: TensorStore accepts it."""
    assert parse_volume_info(an_info(scales=[a_scale(sharding=None)])).scales[0].sharding is None


def test_numpy_numbers_are_numbers() -> None:
    """What NumPy computed parses like the same plain document, and gives plain numbers."""
    scale = a_scale(
        size=np.array([100, 200, 30], np.uint16),
        resolution=np.array([8, 8, 40.5], np.float32),
        voxel_offset=[np.int8(-5), np.float32(0), np.float64(7)],
        chunk_sizes=np.array([[64, 64, 16]]),
    )
    model = parse_volume_info(an_info(num_channels=np.int64(1), scales=[scale]))
    assert model == parse_volume_info(an_info())
    assert json.loads(json.dumps(model.to_json())) == an_info()


def test_parsing_leaves_the_document_alone() -> None:
    """The document is the same after it was parsed."""
    info = an_info(scales=[a_scale(sharding={"@type": "neuroglancer_uint64_sharded_v1"}, more=[1])])
    before = copy.deepcopy(info)
    parse_volume_info(info).to_json()["scales"].clear()
    assert info == before


def test_a_model_pickles() -> None:
    """A model goes to another process and is equal there."""
    model = parse_volume_info(an_info())
    assert len(model.scales[0].grids) == 1
    assert pickle.loads(pickle.dumps(model)) == model


# -- Round trips

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
any_json = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
names = st.text("abcxyz_-.0123456789é ", min_size=1, max_size=6).filter(lambda name: name.strip(". "))
unknown_members = st.dictionaries(st.text(max_size=5).map("x-{}".format), any_json, max_size=3)
sizes = st.lists(st.integers(1, 2**40), min_size=3, max_size=3)
lengths = st.integers(1, 10**9) | st.floats(1e-3, 1e12)


@st.composite
def scale_documents(draw: st.DrawFn, key: str, resolution: list[float]) -> Json:
    scale: Json = {
        "key": key,
        "size": draw(sizes),
        "resolution": resolution,
        "voxel_offset": draw(st.lists(st.integers(-(2**40), 2**40), min_size=3, max_size=3)),
        "chunk_sizes": draw(st.lists(sizes, min_size=1, max_size=3)),
        "encoding": draw(st.sampled_from(["raw", "compressed_segmentation", "compresso", "fpzip"])),
    }
    if scale["encoding"] == "compressed_segmentation" or draw(st.booleans()):
        scale["compressed_segmentation_block_size"] = draw(sizes)
    if draw(st.booleans()):
        scale["sharding"] = draw(unknown_members)
        scale["chunk_sizes"] = scale["chunk_sizes"][:1]
    known = {"jpeg_quality": st.integers(0, 100), "png_level": st.integers(0, 9), "hidden": st.booleans()}
    return scale | draw(st.fixed_dictionaries({}, optional=known)) | draw(unknown_members)


@st.composite
def info_documents(draw: st.DrawFn) -> Json:
    keys = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    resolutions = zip(*(sorted(draw(st.lists(lengths, min_size=4, max_size=4))) for _ in "xyz"), strict=True)
    info: Json = {
        "type": draw(st.sampled_from(["image", "segmentation"])),
        "data_type": draw(st.sampled_from(["uint32", "uint64"])),
        "num_channels": 1,
        "scales": [
            draw(scale_documents(key, list(resolution)))
            for key, resolution in zip(keys, resolutions, strict=False)
        ],
    }
    known: dict[str, st.SearchStrategy[Any]] = {
        "@type": st.just("neuroglancer_multiscale_volume"),
        "mesh": names,
        "skeletons": names,
        "segment_properties": names,
    }
    return info | draw(st.fixed_dictionaries({}, optional=known)) | draw(unknown_members)


@settings(max_examples=60)
@given(info_documents())
def test_a_valid_document_survives_a_round_trip(info: Json) -> None:
    """A document is the same after parsing and writing, members included that nobody knows."""
    assert parse_volume_info(info).to_json() == info
    assert parse_json(info_to_bytes(parse_volume_info(info).to_json())) == info


def test_a_block_size_that_is_not_in_use_is_kept() -> None:
    """A block size beside another encoding is an unknown member like any other: kept, not judged."""
    info = an_info(scales=[a_scale(compressed_segmentation_block_size="no matter")])
    assert parse_volume_info(info).to_json() == info


# -- What is wrong

CSEG = "compressed_segmentation"
BAD_SCALES: list[tuple[Json, str, str]] = [
    ({"key": ""}, "key", "must be the name of a folder, relative to the dataset, not ''"),
    ({"key": 3}, "key", "must be the name of a folder, relative to the dataset, not 3"),
    ({"key": "/abs"}, "key", "must be the name of a folder, relative to the dataset, not '/abs'"),
    ({"key": "a\0b"}, "key", "must be the name of a folder, relative to the dataset, not 'a\\x00b'"),
    ({"size": [1, 2]}, "size", "must be three integers (x, y, z), not [1, 2]"),
    ({"size": "abc"}, "size", "must be three integers (x, y, z), not 'abc'"),
    ({"size": {1, 2, 3}}, "size", "must be three integers (x, y, z), not {1, 2, 3}"),
    ({"size": [1, 0, 1]}, "size", "must be at least 1, not 0"),
    ({"size": [1, 1.5, 1]}, "size", "must be an integer, not 1.5"),
    ({"size": [1, True, 1]}, "size", "must be an integer, not True"),
    ({"size": [1, None, 1]}, "size", "must be an integer, not None"),
    ({"voxel_offset": None}, "voxel_offset", "must be three integers (x, y, z), not None"),
    ({"voxel_offset": [0.5, 0, 0]}, "voxel_offset", "must be an integer, not 0.5"),
    ({"voxel_offset": [float("inf"), 0, 0]}, "voxel_offset", "must be an integer, not inf"),
    ({"chunk_sizes": []}, "chunk_sizes", "must be a list of chunk sizes such as [[64, 64, 64]], not []"),
    ({"chunk_sizes": 64}, "chunk_sizes", "must be a list of chunk sizes such as [[64, 64, 64]], not 64"),
    ({"chunk_sizes": [64, 64, 64]}, "chunk_sizes", "must be three integers (x, y, z), not 64"),
    ({"chunk_sizes": [[64, 64, 0]]}, "chunk_sizes", "must be at least 1, not 0"),
    ({"encoding": "gif"}, "encoding", "must be one of raw, jpeg, png, jxl, compressed_segmentation"),
    ({"encoding": None}, "encoding", "must be one of raw, jpeg"),
    ({"encoding": CSEG}, CSEG + "_block_size", "is missing"),
    (
        {"encoding": CSEG, CSEG + "_block_size": 8},
        CSEG + "_block_size",
        "must be three integers (x, y, z), not 8",
    ),
    ({"encoding": CSEG, CSEG + "_block_size": [8, 8, 0]}, CSEG + "_block_size", "must be at least 1, not 0"),
    ({"sharding": "yes"}, "sharding", "must be an object, not 'yes'"),
    (
        {"sharding": {}, "chunk_sizes": [[64] * 3, [32] * 3]},
        "chunk_sizes",
        "must be one size where the scale is sharded, not 2",
    ),
    ({"jpeg_quality": 101}, "jpeg_quality", "must be at most 100, not 101"),
    ({"jpeg_quality": "high"}, "jpeg_quality", "must be an integer, not 'high'"),
    ({"png_level": -1}, "png_level", "must be at least 0, not -1"),
    ({"hidden": "no"}, "hidden", "must be true or false, not 'no'"),
    *[
        (
            {"resolution": wrong},
            "resolution",
            f"must be three positive numbers (x, y, z) in nanometres, not {wrong!r}",
        )
        for wrong in (
            None,
            [1, 1],
            [1, 0, 1],
            [1, -1, 1],
            [1, True, 1],
            [1, "1", 1],
            [1, [1], 1],
            [1, None, 1],
        )
    ],
]


@pytest.mark.parametrize(("members", "member", "what"), BAD_SCALES, ids=lambda value: str(value)[:40])
def test_a_wrong_member_of_a_scale(members: Json, member: str, what: str) -> None:
    """Each rule for a scale names the scale, the member, and what is there instead."""
    second = a_scale(key="16nm", resolution=[16, 16, 81]) | members
    ((where, text),) = problems_of(an_info(data_type="uint32", scales=[a_scale(), second]))
    assert where == f"scales[1].{member}"
    assert text.startswith(what)


@pytest.mark.parametrize("member", ["key", "size", "resolution", "chunk_sizes", "encoding"])
def test_a_missing_member_of_a_scale(member: str) -> None:
    """Each member that a scale must have is missed by name."""
    scale = a_scale()
    del scale[member]
    assert problems_of(an_info(scales=[scale])) == ((f"scales[0].{member}", "is missing"),)


BAD_ROOTS: list[tuple[Json, str, str]] = [
    ({"@type": "zarr"}, "@type", "must be one of neuroglancer_multiscale_volume, not 'zarr'"),
    ({"type": "picture"}, "type", "must be one of image, segmentation, not 'picture'"),
    ({"data_type": "float64"}, "data_type", "must be one of uint8, int8, uint16"),
    ({"data_type": "int64"}, "data_type", "must be one of uint8, int8, uint16"),
    ({"num_channels": 0}, "num_channels", "must be at least 1, not 0"),
    ({"num_channels": "1"}, "num_channels", "must be an integer, not '1'"),
    ({"type": "segmentation", "num_channels": 2}, "num_channels", "must be 1 for a segmentation, not 2"),
    (
        {"type": "segmentation", "data_type": "float32"},
        "data_type",
        "must be an integer type for a segmentation, not float32",
    ),
    ({"mesh": 1}, "mesh", "must be text, not 1"),
    ({"skeletons": []}, "skeletons", "must be text, not []"),
    ({"segment_properties": {}}, "segment_properties", "must be text, not {}"),
    ({"scales": []}, "scales", "must be a list of at least one scale, not []"),
    ({"scales": {}}, "scales", "must be a list of at least one scale, not {}"),
    ({"scales": "one"}, "scales", "must be a list of at least one scale, not 'one'"),
    ({"scales": [[]]}, "scales[0]", "must be an object, not []"),
]


@pytest.mark.parametrize(("members", "where", "what"), BAD_ROOTS, ids=lambda value: str(value)[:40])
def test_a_wrong_member_of_the_document(members: Json, where: str, what: str) -> None:
    """Each rule for the document names the member, and what is there instead."""
    ((place, text),) = problems_of(an_info(**members))
    assert place == where
    assert text.startswith(what)


@pytest.mark.parametrize("member", ["type", "data_type", "num_channels", "scales"])
def test_a_missing_member_of_the_document(member: str) -> None:
    """Each member that the document must have is missed by name."""
    info = an_info()
    del info[member]
    assert problems_of(info) == ((member, "is missing"),)


@pytest.mark.parametrize("document", [None, [], "info", 3, True], ids=str)
def test_what_is_no_object_is_no_info(document: Any) -> None:
    """JSON that is not an object is refused as a whole, with no place in it."""
    assert problems_of(document) == (("", f"must be a JSON object, not {document!r}"),)


@pytest.mark.parametrize(
    ("encoding", "data_type", "channels", "what"),
    [
        ("jpeg", "uint16", 1, "jpeg holds only uint8, not uint16"),
        ("jpeg", "uint8", 2, "jpeg holds 1 or 3 channels, not 2"),
        ("png", "float32", 1, "png holds only uint8 and uint16, not float32"),
        ("png", "uint8", 5, "png holds 1, 2, 3 or 4 channels, not 5"),
        ("jxl", "uint16", 1, "jxl holds only uint8, not uint16"),
        ("jxl", "uint8", 2, "jxl holds 1, 3 or 4 channels, not 2"),
        (CSEG, "uint16", 1, "compressed_segmentation holds only uint32 and uint64, not uint16"),
    ],
)
def test_an_encoding_that_cannot_hold_the_voxels(
    encoding: str, data_type: str, channels: int, what: str
) -> None:
    """An encoding that holds other voxels only is named with what it can hold."""
    scale = a_scale(encoding=encoding, compressed_segmentation_block_size=[8, 8, 8])
    info = an_info(data_type=data_type, num_channels=channels, scales=[scale])
    assert problems_of(info) == (("scales[0].encoding", what),)


@pytest.mark.parametrize("second", ["8nm", "./8nm", "8nm/", "x/../8nm"])
def test_two_scales_in_one_folder(second: str) -> None:
    """Two keys that name one folder are refused: one scale would overwrite the other."""
    info = an_info(scales=[a_scale(), a_scale(key=second)])
    assert problems_of(info) == (("scales[1].key", f"{second!r} is the key of scales[0] too"),)


def test_resolutions_must_not_become_finer() -> None:
    """A scale that is finer along an axis than the one before is refused."""
    info = an_info(scales=[a_scale(), a_scale(key="b", resolution=[16, 4, 81])])
    assert problems_of(info) == (("scales[1].resolution", "must not be finer than that of scales[0]"),)


def test_rounded_resolutions_are_not_finer() -> None:
    """An axis that a writer rounded differently in two scales is as fine in both."""
    scales = [a_scale(resolution=[8, 8, 40.5]), a_scale(key="b", resolution=[16, 16, 40.499999999])]
    assert len(parse_volume_info(an_info(scales=scales)).scales) == 2


def test_ten_mistakes_give_ten_problems() -> None:
    """All mistakes are reported at once, each with its place, and none twice."""
    info = {
        "@type": "other",
        "type": "picture",
        "num_channels": 0,
        "mesh": 5,
        "scales": [
            {"key": "/a", "size": [1, 2], "chunk_sizes": [], "encoding": "raw", "resolution": [1, 1, 0]},
            "scale",
        ],
    }
    assert [where for where, _ in problems_of(info)] == [
        "@type",
        "type",
        "data_type",
        "num_channels",
        "mesh",
        "scales[0].key",
        "scales[0].size",
        "scales[0].resolution",
        "scales[0].chunk_sizes",
        "scales[1]",
    ]


def test_the_message_shows_all_problems_and_the_place() -> None:
    """The text of the error is the name of the document, then a line for each problem."""
    with pytest.raises(InvalidInfoError) as caught:
        parse_volume_info(an_info(type="x", num_channels=-1), place="/data/info")
    assert str(caught.value).splitlines() == [
        "/data/info is not valid",
        "type: must be one of image, segmentation, not 'x'",
        "num_channels: must be at least 1, not -1",
    ]


@pytest.mark.parametrize(
    "wild",
    [10**5000, -(10**5000), [10**5000], "x" * 10**6, [[]] * 10**5, "\ud800", 1e999, float("nan"), {"a": {}}],
    ids=["huge", "-huge", "[huge]", "text", "list", "surrogate", "inf", "nan", "object"],
)
def test_wild_values_give_short_messages(wild: Any) -> None:
    """Whatever a member holds, the message stays one short line that can be written as UTF-8."""
    for info in ({"scales": wild}, {"type": wild, "num_channels": wild, "scales": [a_scale(key=wild)]}):
        for _, what in problems_of(an_info(**info)):
            assert len(what) < 200
            assert "\n" not in what
            what.encode()
    for member in a_scale():
        for value in (wild, [wild] * 3, [[wild] * 3]):
            assert all(
                len(what) < 200 for _, what in problems_or_none(an_info(scales=[a_scale(**{member: value})]))
            )


def problems_or_none(info: Any) -> tuple[tuple[str, str], ...]:
    """Parse, and let no other exception than InvalidInfoError pass."""
    try:
        parse_volume_info(info)
    except InvalidInfoError as exc:
        str(exc)
        return exc.problems or (("", "refused without saying why" * 10),)
    return ()


def places(document: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    return [place] + [inner for key, value in items for inner in places(value, (*place, key))]


@settings(max_examples=200)
@given(info_documents(), st.lists(st.tuples(st.integers(0, 10**6), any_json | st.none()), max_size=4))
def test_any_json_parses_or_is_an_invalid_info(info: Json, changes: list[tuple[int, Any]]) -> None:
    """A valid document with any of its parts replaced or removed parses, or is an InvalidInfoError."""
    document: Any = copy.deepcopy(info)
    for which, value in changes:
        there = places(document)
        place = there[which % len(there)]
        if not place:
            document = value
            continue
        holder = document
        for step in place[:-1]:
            holder = holder[step]
        if value is None:
            del holder[place[-1]]
        else:
            holder[place[-1]] = value
    assert all(len(what) < 200 for _, what in problems_or_none(document))


@given(any_json)
def test_any_json_at_all_is_an_invalid_info(document: Any) -> None:
    """A document of any shape is an InvalidInfoError and nothing else."""
    assert problems_of(document)


# -- Bytes


def test_the_bytes_of_an_info() -> None:
    """An info is written compact, with sorted members, in ASCII: as release 1.2.0 wrote it."""
    info = an_info(zeta="é", alpha=[1, 2.5, None, True])
    assert info_to_bytes(info) == json.dumps(info, separators=(",", ":"), sort_keys=True).encode()
    assert b" " not in info_to_bytes(info)


def test_numpy_numbers_are_written_as_numbers() -> None:
    """Scalars and arrays of NumPy are written as the numbers that they are."""
    info = {
        "a": np.int64(3),
        "b": np.float32(0.5),
        "c": np.array([1, 2]),
        "d": np.bool_(True),
        "e": np.uint64(2**64 - 1),
    }
    assert info_to_bytes(info) == b'{"a":3,"b":0.5,"c":[1,2],"d":true,"e":18446744073709551615}'


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), np.float32("nan"), b"12", {1, 2}, object()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_json_is_not_written(value: Any) -> None:
    """What JSON does not have (NaN, bytes, sets) is an InvalidInfoError."""
    with pytest.raises(InvalidInfoError, match="cannot be written as JSON"):
        info_to_bytes(an_info(more=value))


def test_an_info_with_a_byte_order_mark() -> None:
    """A byte order mark in front of the text is passed over: some editors put one."""
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "info is not JSON: Expecting value at line 1, column 1"),
        (b"<html>\n", "info is not JSON: Expecting value at line 1, column 1"),
        (b'{"a": 1,\n "b": }', "info is not JSON: Expecting value at line 2, column 7"),
        (b"\xff\xfe{\0}\0", "info is not UTF-8 text: .*invalid start byte"),
        (b'{"a": NaN}', "info is not JSON: there is no number NaN in it"),
        (b"[-Infinity]", "info is not JSON: there is no number -Infinity in it"),
        (b"9" * 5000, "info is not JSON: Exceeds the limit"),
        (b"[" * 100_000, "info is not a sensible JSON document: it is nested too deeply"),
    ],
    ids=["empty", "html", "truncated", "utf16", "nan", "inf", "digits", "deep"],
)
def test_content_that_is_no_json(content: bytes, what: str) -> None:
    """Content that is no JSON is an InvalidInfoError that says where and why."""
    with pytest.raises(InvalidInfoError, match=what):
        parse_json(content)


@given(st.binary(max_size=30))
def test_any_bytes_parse_or_are_an_invalid_info(content: bytes) -> None:
    """No bytes give another exception than InvalidInfoError."""
    with contextlib.suppress(InvalidInfoError):
        parse_json(content)


# -- What other tools write


def test_an_info_of_release_1_2_0() -> None:
    """The info that release 1.2.0 wrote for a pyramid with two chunk shapes parses and is kept."""
    scales = [
        {"chunk_sizes": [[64, 64, 32]], "encoding": "raw", "key": "1mm", "resolution": [1e6, 1e6, 2e6]},
        {"chunk_sizes": [[64, 64, 64]], "encoding": "raw", "key": "2mm", "resolution": [2e6, 2e6, 2e6]},
    ]
    for scale, size in zip(scales, ([33, 50, 19], [17, 25, 19]), strict=True):
        scale |= {"size": size, "voxel_offset": [0, 0, 0]}
    info = {"data_type": "uint8", "num_channels": 1, "scales": scales, "type": "image"}
    model = parse_volume_info(info)
    assert model.to_json() == info
    assert info_to_bytes(model.to_json()) == json.dumps(info, separators=(",", ":"), sort_keys=True).encode()


SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "data_encoding": "gzip",
    "hash": "murmurhash3_x86_128",
    "minishard_bits": 3,
    "minishard_index_encoding": "gzip",
    "preshift_bits": 2,
    "shard_bits": 4,
}


@pytest.mark.parametrize(
    ("data_type", "encoding", "extra"),
    [
        ("int16", "raw", {}),
        ("uint64", "compressed_segmentation", {"compressed_segmentation_block_size": [8, 8, 4]}),
        ("uint8", "jpeg", {"jpeg_quality": 80}),
        ("uint16", "png", {"png_level": 3}),
        ("float32", "raw", {"sharding": SHARDING}),
    ],
    ids=["raw", "cseg", "jpeg", "png", "sharded"],
)
def test_an_info_of_tensorstore(tmp_path: Path, data_type: str, encoding: str, extra: Json) -> None:
    """Each kind of info that TensorStore writes parses, and comes back member for member."""
    import tensorstore

    tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": str(tmp_path)},
            "multiscale_metadata": {"type": "image", "data_type": data_type, "num_channels": 1},
            "scale_metadata": {
                "size": [30, 20, 10],
                "resolution": [8, 8, 40],
                "voxel_offset": [-3, 0, 5],
                "chunk_size": [16, 8, 4],
                "encoding": encoding,
                **extra,
            },
        },
        create=True,
    ).result()
    document = parse_json((tmp_path / "info").read_bytes())
    assert document["@type"] == "neuroglancer_multiscale_volume"
    model = parse_volume_info(document)
    assert model.to_json() == document
    assert model.scales[0].voxel_offset == (-3, 0, 5)
    assert (model.scales[0].sharding is not None) == ("sharding" in extra)


@pytest.mark.filterwarnings("ignore")
def test_an_info_of_cloud_volume(tmp_path: Path) -> None:
    """The info that cloud-volume writes, with lower resolutions added by it, parses and comes back."""
    from cloudvolume import CloudVolume

    info = CloudVolume.create_new_info(
        num_channels=1,
        layer_type="segmentation",
        data_type="uint64",
        encoding="compressed_segmentation",
        resolution=[4, 4, 40],
        voxel_offset=[-8, 4, 0],
        volume_size=[256, 256, 64],
        chunk_size=[64, 64, 64],
        mesh="mesh",
        skeletons="skeletons",
    )
    volume = CloudVolume(f"file://{tmp_path}", info=info, progress=False)
    volume.add_scale((2, 2, 1), encoding="crackle")
    volume.commit_info()
    document = parse_json((tmp_path / "info").read_bytes())
    model = parse_volume_info(document)
    assert model.to_json() == document
    assert [scale.encoding for scale in model.scales] == ["compressed_segmentation", "crackle"]
    assert model.extra["mesh"] == "mesh"
