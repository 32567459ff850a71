"""Annotated source in a real browser: what mouse, touch and keys do."""

from annotated_page import call, lit, shown
from browser import PHONE, visit

FIRST = "hidden: the same tensor in 6 places, 4 of them in calls that are closed"


# Calls


def test_a_click_on_a_call_opens_it_in_place(browser, small):
    with visit(browser, small) as page:
        before = shown(page)
        layer, norm = call(page, "layer"), call(page, "self.norm")
        assert layer.get_attribute("aria-expanded") == "false"
        layer.click()
        assert layer.get_attribute("aria-expanded") == "true"
        assert norm.get_attribute("aria-expanded") == "false"
        inside = page.locator(f"#{layer.get_attribute('aria-controls')}")
        assert inside.locator(".cn-line:visible").count() == 4 == shown(page) - before
        assert layer.bounding_box()["y"] < inside.bounding_box()["y"] < norm.bounding_box()["y"]
        assert "layers.0 … 1 ×2" in inside.locator("summary").text_content()  # noqa: RUF001
        layer.click()
        assert layer.get_attribute("aria-expanded") == "false"
        assert shown(page) == before


def test_its_title_closes_it_and_the_focus_stays(browser, small):
    with visit(browser, small) as page:
        before = shown(page)
        norm = call(page, "self.norm")
        norm.press("Enter")
        assert shown(page) == before + 4
        page.keyboard.press("Tab")
        page.locator("summary:visible").last.press("Enter")
        assert shown(page) == before
        assert norm.evaluate("(one) => one === document.activeElement")
        assert norm.get_attribute("aria-expanded") == "false"


def test_all_calls_open_and_close(browser, whole):
    with visit(browser, whole) as page:
        before, calls = shown(page), page.locator("button.cn-call").count()
        assert calls > 30
        page.get_by_role("button", name="Open all calls").click()
        assert page.locator("button.cn-call[aria-expanded=true]:visible").count() == calls
        assert shown(page) > 10 * before
        page.get_by_role("button", name="Close all").click()
        assert page.locator("button.cn-call[aria-expanded=false]").count() == calls
        assert shown(page) == before


def test_the_browser_s_own_search_opens_what_it_finds(browser, small):
    """A closed call is folded, not gone. Going to a text in it is the search that a test can do."""
    with visit(browser, small) as page:
        page.goto("about:blank")
        page.goto(f"{small.as_uri()}#:~:text=return%20residual")
        page.wait_for_selector(".cn-in[open]")
        assert call(page, "layer").get_attribute("aria-expanded") == "true"
        assert call(page, "self.norm").get_attribute("aria-expanded") == "false"


def test_a_docstring_opens(browser, small):
    with visit(browser, small) as page:
        text = page.get_by_text("And <more> of it")
        assert not text.is_visible()
        page.get_by_text("Say what it does.").click()
        assert text.is_visible() and not page.locator(".cn-cut").is_visible()


def test_the_margin_can_be_hidden(browser, small):
    with visit(browser, small) as page:
        notes_there = page.locator(".cn-note:visible")
        wide = page.locator("code").first.bounding_box()["width"]
        assert notes_there.count() > 10
        page.get_by_label("Shapes").uncheck()
        assert notes_there.count() == 0
        assert page.locator("code").first.bounding_box()["width"] > 1.3 * wide
        assert page.locator(".cn-remark:visible").count() == 2
        page.get_by_label("Shapes").check()
        assert notes_there.count() > 10


def test_the_margin_is_one_column_however_deep(browser, whole):
    with visit(browser, whole) as page:
        page.get_by_role("button", name="Open all calls").click()
        boxes = page.locator(".cn-note").evaluate_all(
            "(all) => all.map((one) => one.getBoundingClientRect())"
            ".map(({left, right}) => `${Math.round(left)} ${Math.round(right)}`)"
        )
        assert len(set(boxes)) == 1


# Tensors


def test_pointing_at_a_name_lights_up_every_place_of_the_tensor(browser, small):
    with visit(browser, small) as page:
        said = page.get_by_role("status")
        page.locator("code [data-m]", has_text="hidden").first.hover()
        assert lit(page) == ["hidden", "hidden", "x", "residual", "x", "x", "residual"]
        assert page.locator(".cn-note .cn-lit").count() == 3
        assert said.text_content() == FIRST
        assert page.locator("button.cn-has").all_text_contents() == ["layer"]
        call(page, "layer").click()
        page.locator("code [data-m]", has_text="hidden").first.hover()
        assert said.text_content() == "hidden: the same tensor in 6 places"
        assert page.locator("button.cn-has").count() == 0
        page.mouse.move(2, 2)
        assert lit(page) == [] and said.text_content() == ""


def test_a_margin_s_tensor_lights_up_too(browser, small):
    with visit(browser, small) as page:
        page.locator(".cn-note .cn-t").first.hover()
        assert lit(page)[:2] == ["hidden", "hidden"]


def test_a_click_keeps_it(browser, small):
    with visit(browser, small) as page:
        name = page.locator("code [data-m]", has_text="hidden").first
        other = page.locator("code [data-m]", has_text="kept").first
        name.click()
        page.mouse.move(2, 2)
        assert lit(page)[:3] == ["hidden", "hidden", "x"]
        assert name.get_attribute("aria-pressed") == "true"
        other.hover()
        assert "kept" in lit(page) and "x" in lit(page)
        page.mouse.move(2, 2)
        assert lit(page)[0] == "hidden" and "kept" not in lit(page)
        name.click()
        page.mouse.move(2, 2)
        assert lit(page) == [] and name.get_attribute("aria-pressed") == "false"
        other.click()
        page.keyboard.press("Escape")
        assert lit(page) == []


def test_keys_walk_over_names_and_after_a_tensor(browser, small):
    with visit(browser, small) as page:
        focused = "document.activeElement.textContent"

        def press(*keys):
            for key in keys:
                page.keyboard.press(key)
            return page.evaluate(focused)

        page.get_by_label("Shapes").focus()
        assert press("Tab") == "hidden"  # the first name
        assert lit(page)[:2] == ["hidden", "hidden"]
        assert press("ArrowRight") == "hidden" and lit(page).count("x") == 0, "another tensor"
        assert press("ArrowRight") == "hidden" and lit(page).count("x") == 3
        # After the tensor, into a call that is closed.
        before = shown(page)
        assert press("ArrowDown") == "x" and shown(page) == before + 4
        assert press("ArrowDown", "ArrowDown") == "x"
        assert press("ArrowRight") == "y" and press("ArrowLeft") == "x"
        assert press("End") == "y" and press("Home") == "x"
        assert press("ArrowUp", "ArrowUp") == "hidden"
        # What is kept stays when the focus goes, and Escape lets go.
        press("Enter")
        assert "Say what it does" in press("Tab")
        assert "x" in lit(page)
        press("Escape")
        assert lit(page) == []


def test_each_function_is_one_stop_of_the_tab_key(browser, small):
    with visit(browser, small) as page:
        page.get_by_role("button", name="Open all calls").click()
        page.locator("code [data-m]", has_text="y").first.click()  # the stop goes where one was
        stops = page.locator(".cn-fn [data-m][tabindex='0']").all_text_contents()
        assert stops == ["hidden", "y", "x"]


def test_others_keys_stay_theirs(browser, small):
    with visit(browser, small) as page:
        name = page.locator("code [data-m]").first
        name.focus()
        for key in ("Control+ArrowRight", "a", "PageDown"):
            page.keyboard.press(key)
            assert name.evaluate("(one) => one === document.activeElement"), key


# Fingers


def test_a_finger_opens_and_keeps(browser, small):
    with visit(browser, small, **PHONE) as page:
        before = shown(page)
        call(page, "layer").tap()
        assert shown(page) == before + 4
        name = page.locator("code [data-m]", has_text="hidden").first
        box = name.bounding_box()
        touch = page.context.new_cdp_session(page)
        for kind, moved in (("touchStart", 0), ("touchMove", -60), ("touchEnd", None)):
            points = [] if moved is None else [{"x": box["x"] + 5, "y": box["y"] + 5 + moved}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert lit(page) == [], "who scrolls points at nothing"
        name.tap()
        assert lit(page)[:2] == ["hidden", "hidden"]
        name.tap()
        assert lit(page) == []
        name.tap()
        page.locator("summary:visible").last.tap()
        assert shown(page) == before
        assert page.get_by_role("status").text_content() == FIRST
