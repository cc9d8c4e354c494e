"""What crosses the border, on the scorecard: the suites of their own, in their short form."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fuzz
import grpc_mutation
import measure
import pytest
import test_security as security
from bad_image import make_images
from bad_text import make_texts
from case import Case
from scorecard import LONG, Scorecard, within
from test_equivalence import LIMIT, PICTURES, compare
from test_security import Place, place  # noqa: F401 - a fixture

from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.errors import PolicyInvalid, ServerFailed
from livewarden_ensemble.local import LocalLeaves
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import load_policy, locate_policy
from livewarden_ensemble.policy_watcher import PolicyWatcher
from livewarden_ensemble.server import Server
from livewarden_ensemble.signature import sign_policy
from livewarden_ensemble.state_token import parse_keys

pytestmark = pytest.mark.faults

# Items that are dear; of the others the short form takes every STEP-th.
DEAR = {"at the limit", "bomb", "metadata", "unfolding", "long"}
STEP = 1 if LONG else 6
FUZZ_S = 3600 if LONG else 3
MUTATIONS = 100_000 if LONG else 2_000


def choose(cases: list[Case]) -> list[Case]:
    dear = [case for case in cases if case.group in DEAR]
    return [*dear, *[case for case in cases if case.group not in DEAR][::STEP]]


def tell(outcomes: list[measure.Outcome], total: int) -> str:
    return (
        f"{len(outcomes)} of {total} files, {sum(one.wrong for one in outcomes)} wrong; "
        f"at most {max(one.cpu_ms for one in outcomes):.0f} ms, "
        f"{max(one.extra_mib for one in outcomes):.0f} MiB"
    )


def test_17_and_19_hostile_files(scorecard: Scorecard) -> None:
    """No file crashes, ends in a better state than the truth, or costs more than its bound."""
    judge_image, judge_text = measure.load_judges()
    images, texts = make_images(), make_texts()
    seen = measure.measure(choose(images), judge_image, measure.IMAGE_MS)
    read = measure.measure(choose(texts), judge_text, measure.TEXT_MS)
    assert [str(one.case) for one in (*seen, *read) if one.wrong] == []
    scorecard.enter(
        17,
        "bad images, each in a process of its own",
        f"0 crashes, 0 seen that cannot be, each <= {measure.IMAGE_MS} ms CPU, "
        f"<= {measure.IMAGE_MIB} MiB",
        tell(seen, len(images)),
        met=within(max(one.cpu_ms for one in seen), measure.IMAGE_MS)
        & within(max(one.extra_mib for one in seen), measure.IMAGE_MIB),
    )
    scorecard.enter(
        19,
        "bad texts, each in a process of its own",
        f"0 exceptions, each <= {measure.TEXT_MS} ms CPU",
        f"{tell(read, len(texts))}; evasion: docs/model-card.md",
        met=within(max(one.cpu_ms for one in read), measure.TEXT_MS),
    )


def test_18_one_picture_in_many_files(repository: Path, scorecard: Scorecard) -> None:
    """However a picture is written, its scores stay, and its decision."""
    policy = load_policy(locate_policy(repository))
    keys = parse_keys("test:" + "00" * 32)
    leaves = LocalLeaves(repository, threads=1)
    bundle = load_bundle(repository / "moderation")
    pipeline = Pipeline(bundle, policy, leaves, server="local", keys=keys)
    moved = max(compare(pipeline, name) for name in PICTURES)
    scorecard.enter(
        18,
        "EXIF 2 to 8, 16 bits, CMYK, alpha, progressive, WebP against the plain file",
        f"scores move <= {LIMIT}, same decision",
        f"{len(PICTURES)} pictures in 17 files each: {moved:.4f}, same decision",
        met=within(moved, LIMIT),
    )


def test_20_fuzz_of_parsers(scorecard: Scorecard, tmp_path: Path) -> None:
    """No parser of callers' bytes crashes, hangs or raises what it must not."""
    test, bound = f"atheris, {FUZZ_S} s for each parser", "0 crashes, hangs or exceptions"
    if importlib.util.find_spec("atheris") is None:
        why = "needs the extra `fuzz`: make fuzz FUZZ_SECONDS=3600"
        scorecard.enter(20, test, bound, "", skip=why)
        pytest.skip(why)
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda name: fuzz.start(name, FUZZ_S, tmp_path / name), fuzz.NAMES))
    failed = [name for name, (status, _) in zip(fuzz.NAMES, ended, strict=True) if status]
    runs = ", ".join(f"{name} {count}" for name, (_, count) in zip(fuzz.NAMES, ended, strict=True))
    scorecard.enter(20, test, bound, f"{len(failed)} failed; runs: {runs}", met=not failed)
    assert failed == []


def test_20_mutated_requests(real_server: Server, scorecard: Scorecard) -> None:
    """No mutated request ends the server, hangs, or gets neither verdict nor typed error."""
    tally = grpc_mutation.send_all(real_server, MUTATIONS)
    ends = dict(tally.ends.most_common())
    scorecard.enter(
        20,
        f"{MUTATIONS} mutated gRPC requests (without `classification`, SECURITY.md)",
        f"0 crashes, 0 hangs > {grpc_mutation.HANG_S:.0f} s, 0 untyped answers",
        f"{ends}; {sum(tally.faults.values())} faults; {tally.restarts} restarts; slowest "
        f"{tally.slowest:.2f} s; {tally.requests / tally.seconds:.0f}/s",
        met=tally.clean,
    )
    assert tally.restarts == 0


def test_24_nothing_leaks(place: Place, scorecard: Scorecard) -> None:  # noqa: F811 - the fixture
    """What callers sent is in nothing that is kept."""
    security.test_nothing_of_what_callers_send_stays(place)
    scorecard.enter(
        24,
        "unique words and pixels in every field, good, bad and malformed",
        "0 hits in logs, metrics, errors, audit, runtime, core files",
        f"0 hits in {len(place.said)} errors and all files that were kept",
    )


def test_25_nobody_gets_in(
    place: Place,  # noqa: F811 - the fixture
    repository: Path,
    keys: Path,
    tmp_path: Path,
    scorecard: Scorecard,
) -> None:
    """What a caller may not is refused, a large message harms nobody, unsigned is not served."""
    checks = (
        security.test_only_loopback_is_listened_on,
        security.test_no_argument_holds_a_secret,
        security.test_callers_choose_no_bundle_and_are_no_canary,
        security.test_a_message_of_210_megabytes_leaves_the_server_up,
    )
    for check in checks:
        check(place)
    for key in ("", "wrong"):
        security.test_admin_endpoints_are_shut(place, key)
    public = keys / "release.pub"
    with pytest.raises(ServerFailed, match="only a signed bundle is accepted"):
        Server(
            repository, grpc_port=0, http_port=0, metrics_port=0, require_signature=public
        ).__enter__()
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(locate_policy(repository).read_bytes())
    sign_policy(load_policy(policy), keys / "release.key")
    policy.write_bytes(policy.read_bytes().replace(b"#", b"#!", 1))
    with pytest.raises(PolicyInvalid, match="changed since it was signed"):
        PolicyWatcher(policy, public_key=public)
    scorecard.enter(
        25,
        "ports, 18 admin calls, foreign bundle, 210 MB message, unsigned bundle, changed policy",
        "100 % refused, server up",
        f"all refused, {place.server.restarts} restarts",
        met=place.server.restarts == 0,
    )
