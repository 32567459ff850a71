"""The benchmarks count right, compare like with like, and the README says what they measured."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import arithmetic
import report
import setting
import speed
from arithmetic import Tokens
from clipnotes.compat import eager_attention
from clipnotes.measured import measured
from clipnotes.prompts.layout import Layout
from reference_prompts import prompt_clip

NAMES = ["dog", "dog sled", "tulip", "x x x x x"]
aten = torch.ops.aten


def tiny_setting(clip, names=NAMES, n_ctx=3, **text):
    tiny = prompt_clip(clip, 3, max_position_embeddings=30, **text)
    tiny.model.requires_grad_(False)
    layout = Layout.build(clip.tokenizer, names, n_ctx, limit=30)
    width = tiny.model.config.text_config.hidden_size
    return setting.Setting(tiny.model, layout, torch.randn(n_ctx, width, requires_grad=True))


def counted(encode_all, ctx, *products):
    """Flops of these products, forward and backward."""
    found = []
    with FlopCounterMode(display=False) as counter:
        features = encode_all()
        for _ in range(2):
            counts = counter.get_flop_counts()["Global"]
            found.append(sum(counts.get(product, 0) for product in products))
            if len(found) == 1:
                torch.autograd.grad(features.sum(), ctx)
    return found[0], found[1] - found[0]


# Arithmetic


def test_the_flops_of_the_weights_are_those_that_torch_counts(clip):
    small = tiny_setting(clip)
    tokens = Tokens.count(small.layout)
    forward, backward = counted(small.way("fast"), small.ctx, aten.mm, aten.addmm)
    expected = arithmetic.linear_flops(small.model, tokens, tokens.rows)
    assert forward == expected
    # The fast path takes the start token back too, one row that is not necessary.
    assert backward == expected > arithmetic.linear_flops(small.model, tokens, tokens.rows - 1)


def test_the_flops_of_a_pair_are_those_that_torch_counts(clip):
    small = tiny_setting(clip, ["dog"])
    with eager_attention(small.model):
        forward, backward = counted(small.way("cut"), small.ctx, aten.bmm)
    squares = small.layout.input_ids.shape[1] ** 2  # eager compares all with all, in each layer
    expected = arithmetic.attention_flops(small.model, Tokens(0, 0, squares, squares))
    assert forward == expected
    assert backward == 2 * expected


def test_tokens_and_pairs_are_counted_as_one_would_by_hand(clip):
    layout = Layout.build(clip.tokenizer, NAMES, 3, limit=30)
    lengths = (layout.eos + 1).tolist()
    # Places 0 to 3, start and context, hold the same in all classes.
    tokens = {(n if i > 3 else "all", i) for n, length in enumerate(lengths) for i in range(length)}
    count = Tokens.count(layout)
    assert count.rows == len(tokens)
    assert count.ends == len(NAMES)
    assert count.pairs == sum(i + 1 for _, i in tokens)
    assert count.end_pairs == sum(lengths)


def test_the_necessary_is_the_sum_of_its_parts(clip):
    small = tiny_setting(clip)
    tokens = Tokens.count(small.layout)
    linear = [arithmetic.linear_flops(small.model, tokens, tokens.rows - i) for i in (0, 1)]
    attention = arithmetic.attention_flops(small.model, tokens)
    whole = arithmetic.necessary_flops(small.model, small.layout)
    assert whole == sum(linear) + 3 * attention


def test_another_position_is_not_counted(clip):
    layout = Layout.build(clip.tokenizer, NAMES, 3, limit=30, position="front")
    with pytest.raises(ValueError, match="does not stand in front of the names"):
        Tokens.count(layout)


def test_the_bare_products_are_those_of_the_step(clip, monkeypatch):
    small = tiny_setting(clip)
    products = arithmetic.Products(small)
    ticks = iter([0.0, 2.0])
    monkeypatch.setattr(setting.time, "perf_counter", lambda: next(ticks))
    with FlopCounterMode(display=False) as counter:
        said = products.speed()
    assert 2 * said == counter.get_total_flops()
    tokens = Tokens.count(small.layout)
    assert 2 * said == 2 * arithmetic.linear_flops(small.model, tokens, tokens.rows)


# The three ways


@pytest.mark.parametrize("tower", setting.TOWERS)
def test_all_ways_give_the_same(tower):
    made = setting.make_setting(tower, 3, 4)
    limit = {"Emoji-CLIP": 32, "ViT-B/32": 77}[tower]
    assert made.limit == limit
    assert made.way("reference").args[1].input_ids.shape == (3, limit)
    assert made.way("cut").args[1].input_ids.shape[1] < limit
    _, features, gradient = setting.step(made.way("fast"), made.ctx)
    for way in ("cut", "reference"):
        _, others, wanted = setting.step(made.way(way), made.ctx)
        assert (features - others).abs().max() < 1e-5 * others.abs().max()
        assert (gradient - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_vit_b_32_has_the_shapes_of_the_original():
    made = setting.make_setting("ViT-B/32", 2, 4)
    assert setting.shapes(made.model) == (12, 512, 2048, 512)
    assert made.model.config.num_attention_heads == 8
    assert made.model.config.vocab_size == 49408
    assert made.model.config.hidden_act == "quick_gelu"


def test_padding_is_behind_the_ends(clip):
    layout = Layout.build(clip.tokenizer, NAMES, 3, limit=30)
    padded = setting.pad(layout, 30)
    length = layout.input_ids.shape[1]
    assert (padded.input_ids[:, :length] == layout.input_ids).all()
    assert (padded.input_ids[:, length:] == clip.tokenizer.eos_token_id).all()


def test_there_are_names_for_ten_thousand_classes(clip):
    names = setting.class_names(clip.tokenizer, 10_000)
    assert len(set(names)) == 10_000
    assert names[:10] == setting.class_names(clip.tokenizer, 10)
    assert sum(" by a " in name for name in names) > 9_000
    Layout.build(clip.tokenizer, names, 16, limit=32)  # fits
    with pytest.raises(ValueError, match="99999 classes are wanted and there are"):
        setting.class_names(clip.tokenizer, 99_999)


# The report


def results():
    time = {"what": "time", "tower": "T", "n_ctx": 16, "matmul_share": 0.714}
    memory = {"what": "memory", "tower": "T", "n_ctx": 16}
    too_large = {**memory, "not_run": "needs 39 GB"}
    fit = {"what": "fit", "classes": 20, "shots": 8, "epochs": 200, "naive_epochs": 6}
    faster = {"cut": 4.04, "reference": 16.3}
    return {
        "about": {"cpu": "C", "threads": 2, "load": [0.1], "torch": "2", "date": "2026-01-02"},
        "rows": [
            {**time, "n_ctx": 4, "classes": 10, "seconds": {"fast": 9.0}},
            {**time, "classes": 10, "seconds": {"fast": 0.0512}, "times_faster": faster},
            {**time, "classes": 1000, "seconds": {"fast": 5.04}, "times_faster": {"cut": 3.96}},
            {**memory, "classes": 10, "way": "fast", "extra_bytes": 30_400_000},
            {**memory, "classes": 10, "way": "reference", "extra_bytes": 388_000_000},
            {**memory, "classes": 1000, "way": "fast", "extra_bytes": 1_240_000_000, "seconds": 7},
            {**too_large, "classes": 1000, "way": "reference", "extra_bytes": 38_800_000_000},
            {**fit, "seconds": {"fit": 12.3, "naive": 400.4}, "times_faster": 32.6},
        ],
    }


def test_the_table_says_what_was_measured():
    lines = report.table(results()).splitlines()
    assert lines[2] == "| T | 10 | 51 ms | 4.0x | 16.3x | 71% | 30 MB | 388 MB |"
    assert lines[3] == "| T | 1,000 | 5.0 s | 4.0x | too large | 71% | 1.2 GB | about 38.8 GB |"
    assert {line.count("|") for line in lines[:4]} == {9}
    assert lines[4] == ""
    assert lines[5].startswith("A step encodes all classes with 16 context tokens")
    assert lines[5].endswith("With 1,000 classes a step takes 1.2 GB and 7.0 s (T).")
    assert "20 classes, 8 shots and 200 epochs on Emoji-CLIP takes 12.3 s" in lines[6]
    assert "400 s (33 times as long; extrapolated from 6 epochs)" in lines[6]
    assert lines[7] == "C, 2 threads, load before the run 0.1, torch 2, 2026-01-02."
    busy = results()
    busy["about"]["load"] = [2.5]
    assert report.table(busy).endswith(
        "2026-01-02. **The machine was busy: these are not the times of a quiet one.**"
    )


def test_the_table_goes_between_the_markers():
    made = report.insert(f"above\n{report.START}\nold\n{report.END}\nbelow\n", results())
    assert made == f"above\n{report.START}\n{report.table(results())}\n{report.END}\nbelow\n"
    assert report.insert(made, results()) == made
    for wrong in ("", report.START, f"{report.END}{report.START}", made + made):
        with pytest.raises(ValueError, match="the README needs <!-- bench -->"):
            report.insert(wrong, results())


def test_the_figure_is_a_picture():
    assert report.figure(results()).startswith(b"\x89PNG")


def test_what_would_not_fit_is_not_run(monkeypatch):
    monkeypatch.setattr(speed, "free_memory", lambda: 20e9)
    assert speed.too_large(11.9e9, 100) is None
    assert speed.too_large(12.9e9, 100) == (
        "needs 13 GB (extrapolated from 100 classes); 20 GB are free, and 60% of them may be used"
    )


def test_large_ways_are_extrapolated_and_left_out(monkeypatch):
    asked = []

    def run(program, *options):
        asked.append((program, options))
        if program != "one_step":
            return {}
        classes = int(options[1].removeprefix("--classes="))
        return {"extra_bytes": classes * (10**8 if options[-1] == "--way=reference" else 1)}

    monkeypatch.setattr(speed, "run", run)
    monkeypatch.setattr(speed, "free_memory", lambda: 20e9)
    plan = speed.Plan(("T",), (10, 100, 1000), (5000,), (4,), (3, 2, 1), ())
    rows = list(speed.measure(plan))
    # Each number of classes has a row for every way and one for the time; then come many and fit.
    assert [row["what"] for row in rows] == [*["memory"] * 3, "time"] * 3 + ["memory", "fit"]
    assert len(rows) == len(plan)
    (left_out,) = [row for row in rows if "not_run" in row]
    assert (left_out["classes"], left_out["way"]) == (1000, "reference")
    assert left_out["extra_bytes"] == 10**11
    assert left_out["not_run"].startswith("needs 100 GB (extrapolated from 100 classes)")
    ways = [options[-3:] for program, options in asked if program == "text_step"]
    assert ways == [setting.WAYS, setting.WAYS, ("--ways", "fast", "cut")]
    rounds = [options[3] for program, options in asked if program == "text_step"]
    assert rounds == ["--rounds=3", "--rounds=2", "--rounds=1"]


def test_every_row_names_a_command_that_is_there(root):
    for row in measured("speed")["rows"]:
        if "not_run" not in row:
            python, program, *_ = shlex.split(row["command"])
            assert python == "python"
            assert (root / program).is_file()


def test_the_results_and_the_readme_agree(root):
    kept = measured("speed")
    text = (root / "clipnotes" / "measured" / "speed.json").read_text("utf-8")
    assert text == report.dumps(kept)
    readme = (root / "README.md").read_text("utf-8")
    assert readme == report.insert(readme, kept)


@pytest.mark.slow
def test_a_quick_run_from_end_to_end(root, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "clipnotes" / "measured").mkdir(parents=True)
    (tmp_path / "README.md").write_text(f"{report.START}\n{report.END}\n")
    command = [sys.executable, root / "benchmarks" / "speed.py", "--quick", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "5/5" in done.stderr
    written = tmp_path / "clipnotes" / "measured" / "speed.json"
    made = json.loads(written.read_text(encoding="utf-8"))
    assert (tmp_path / "benchmarks" / "results.png").read_bytes().startswith(b"\x89PNG")
    assert report.table(made) in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert report.table(made) in done.stdout
    assert made["about"]["threads"] == 2 and made["about"]["cpu"]
    (time,) = report.find(made, what="time")
    assert set(time["seconds"]) == set(setting.WAYS)
    assert time["difference"]["reference"]["gradient"] < 1e-5
    # After one round the medians are the numbers themselves; their size depends on the machine.
    reached = time["necessary_gflop"] / time["seconds"]["fast"] / time["matmul_gflops"]
    assert time["matmul_share"] == pytest.approx(reached)
    assert re.fullmatch(r"python benchmarks/text_step.py .*--classes=2 .*", time["command"])
