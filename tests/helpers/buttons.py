"""What each kind of button on the book's pages has to do when it is pressed.

Where a page has dozens of a kind, a script tries all at once, and one or two are pressed for real.
"""

#: Everything that can be pressed and is no link.
ANY = "button, summary, [role=button], label.sd-tab-label, input[type=submit]"


def each(answers):
    """Try every single button."""

    def try_all(page, buttons):
        for button in buttons.all():
            answers(page, button)

    return try_all


def until(page, script, argument=None):
    page.wait_for_function(script, arg=argument)


@each
def switches_the_theme(page, button):
    modes = []
    for _ in range(3):
        button.click()
        modes.append(page.evaluate("document.documentElement.dataset.mode"))
    assert sorted(modes) == ["auto", "dark", "light"]


@each
def opens_the_search(page, button):
    """On the page of results the field is there already, and is ready to be typed into."""
    button.click()
    until(page, "document.activeElement.matches('input[type=search]')")
    page.keyboard.press("Escape")
    page.locator("dialog input[type=search]").wait_for(state="hidden")


@each
def toggles_a_sidebar(page, button):
    """Press it twice. On a narrow screen the sidebar is a dialog above the page."""
    which = "primary" if "primary-toggle" in button.get_attribute("class") else "secondary"
    look = f"document.querySelector('.bd-sidebar-{which}')"
    look += ".checkVisibility({visibilityProperty: true})"
    shown = page.evaluate(look)
    button.click()
    until(page, f"{look} === {str(not shown).lower()}")
    page.keyboard.press("Escape") if page.locator("dialog[open]").count() else button.click()
    until(page, f"{look} === {str(shown).lower()}")


@each
def drops_a_menu(page, button):
    menu = button.locator("xpath=following-sibling::ul")
    button.click()
    menu.wait_for(state="visible")
    assert menu.locator("a, button").count() > 0
    for printing in menu.locator("button").all():
        page.evaluate("window.print = () => { window.printed = true; }")
        printing.click()
        assert page.evaluate("window.printed"), "it prints the page"
    page.keyboard.press("Escape")
    page.mouse.move(1, 500)  # it stays open while the mouse is on it
    menu.wait_for(state="hidden")


@each
def fills_the_screen(page, button):
    button.click()
    until(page, "document.fullscreenElement !== null")
    button.click()
    until(page, "document.fullscreenElement === null")


def copies(page, buttons):
    wanted = buttons.evaluate_all(
        "(all) => all.map((one) => document.querySelector(one.dataset.clipboardTarget).innerText)"
    )
    assert all(text.strip() for text in wanted)
    for place in {0, len(wanted) - 1}:
        buttons.nth(place).click()
        assert page.evaluate("navigator.clipboard.readText()").strip() == wanted[place].strip()


def unfolds(page, buttons):
    """Each is pressed twice, by the script; the first one also with the mouse."""
    turned = """(all) => all.map((one) => {
      const before = one.parentElement.open;
      one.click();
      return before !== one.parentElement.open;
    })"""
    assert all(buttons.evaluate_all(turned))
    assert all(buttons.evaluate_all(turned))
    shut = buttons.first.evaluate("(one) => !one.parentElement.open")
    buttons.first.click()
    assert buttons.first.evaluate("(one) => one.parentElement.open") == shut


def shows_its_tab(page, labels):
    """Each is pressed by the script, and shows what stands behind it; the last one by the mouse."""
    shown = """(all) => all.map((one) => {
      one.click();
      return one.nextElementSibling.checkVisibility();
    })"""
    assert all(labels.evaluate_all(shown))
    labels.last.click()
    assert labels.last.evaluate("(one) => one.nextElementSibling.checkVisibility()")


def opens_what_it_called(page, buttons):
    """Each is pressed twice, by the script: it may stand in what another one opens."""
    turned = """(all) => all.map((one) => {
      const states = [0, 1, 2].map((i) => {
        if (i) one.click();
        const ids = one.getAttribute("aria-controls").split(" ");
        const open = ids.map((id) => document.getElementById(id).open);
        return `${open.every(Boolean)} ${one.getAttribute("aria-expanded")}`;
      });
      return states.join(", ");
    })"""
    closed = "false false, true true, false false"
    opened = "true true, false false, true true"
    assert set(buttons.evaluate_all(turned)) <= {closed, opened}


def opens_and_closes_all(page, buttons):
    states = """(all) => all.map((one) => {
      one.click();
      const calls = [...one.closest(".clipnotes-notes").querySelectorAll(".cn-in")];
      return calls.every((call) => call.open === (one.dataset.do === "open"));
    })"""
    assert all(buttons.evaluate_all(states))


def keeps_a_tensor(page, names):
    """Each is pressed twice, by the script."""
    pressed = """(all) => all.map((one) => [0, 1].map(() => {
      one.click();
      return one.getAttribute("aria-pressed");
    }).join())"""
    assert set(names.evaluate_all(pressed)) == {"true,false"}


@each
def leads_to_the_top(page, button):
    button.click()
    until(page, "window.scrollY === 0")


#: By selector; those that hide other buttons come last.
ANSWERS = {
    "button.theme-switch-button": switches_the_theme,
    "button.search-button__button": opens_the_search,
    "button.dropdown-toggle": drops_a_menu,
    "button.btn-download-pdf-button": drops_a_menu,  # in a menu that is shut, and pressed there
    "button.copybtn": copies,
    ".clipnotes-notes button.cn-call": opens_what_it_called,
    ".clipnotes-notes .cn-bar button": opens_and_closes_all,
    ".clipnotes-notes [role=button]": keeps_a_tensor,
    "summary": unfolds,
    "label.sd-tab-label": shows_its_tab,
    "button.sidebar-toggle": toggles_a_sidebar,
    "button.btn-fullscreen-button": fills_the_screen,
    "button#pst-back-to-top": leads_to_the_top,
}
