"""What holds on every tab: names, room for a finger, colours that stand out, nothing too wide."""

from tests.apps.ui.conftest import Page

NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, a')]
    .filter((node) => node.checkVisibility({visibilityProperty: true, opacityProperty: false}))
    .filter((node) => {
        const by = node.getAttribute('aria-labelledby');
        const named = [node.getAttribute('aria-label'),
            by && document.getElementById(by)?.innerText,
            node.labels && [...node.labels].map((label) => label.innerText).join(' '),
            ['BUTTON', 'A'].includes(node.tagName) && node.innerText, node.title];
        return !named.some((name) => name && name.trim());
    }).map((node) => node.outerHTML.slice(0, 160))"""

SMALL = """() => [...document.querySelectorAll('button, select, input[type=checkbox], summary')]
    .filter((node) => node.checkVisibility({visibilityProperty: true}))
    .filter((node) => !node.closest('[tabindex="-1"], [aria-hidden=true]'))
    .map((node) => [node.getBoundingClientRect(), node])
    .filter(([box, node]) => box.width && (box.height < 24 || box.width < 24)
        && !(node.type === 'checkbox' && node.closest('label, .tc-check').clientHeight >= 24))
    .map(([box, node]) => [box.width, box.height, node.outerHTML.slice(0, 120)])"""

FAINT = """() => {
    const parse = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const [r, g, b, a] = parse(getComputedStyle(node).backgroundColor);
            if (a === undefined || a > 0.99) return [r, g, b];
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll('body *')]
        .filter((node) => [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim()))
        .filter((node) => node.checkVisibility({visibilityProperty: true, opacityProperty: true}))
        .filter((node) => !node.closest(':disabled, .tc-dropped, script, style, .tc-sr'))
        .map((node) => {
            const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node];
        })
        .filter(([ratio]) => ratio < 4.5)
        .map(([ratio, node]) => [ratio.toFixed(2), node.outerHTML.slice(0, 140)]);
}"""

CHECKS = {"nameless": NAMELESS, "small": SMALL, "faint": FAINT}


def assert_sound(page: Page) -> None:
    """Everything that is shown can be named, hit and read, and nobody has to scroll sideways."""
    page.mouse.move(0, 0)  # what is below the mouse has colours of its own
    wrong = {name: found for name, code in CHECKS.items() if (found := page.evaluate(code))}
    width, room = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert not wrong, wrong
    assert width <= room, (width, room)


CUT_OFF = """() => {
    const node = document.activeElement, style = getComputedStyle(node);
    if (node === document.body || style.outlineStyle === 'none') return '';
    const reach = parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset);
    const own = node.getBoundingClientRect();
    for (let around = node.parentElement; around; around = around.parentElement) {
        const { overflowX, overflowY } = getComputedStyle(around);
        const box = around.getBoundingClientRect();
        const wide = own.left - reach < box.left - 0.5 || own.right + reach > box.right + 0.5;
        const high = own.top - reach < box.top - 0.5 || own.bottom + reach > box.bottom + 0.5;
        const hides = (overflow) => ['hidden', 'clip'].includes(overflow);
        if ((hides(overflowX) && wide) || (hides(overflowY) && high))
            return `${node.outerHTML.slice(0, 120)} in ${around.outerHTML.slice(0, 80)}`;
    }
    return '';
}"""


def assert_rings_are_whole(page: Page, presses: int) -> None:
    """The mark of the keyboard's place is seen on all sides, wherever Tab leads from here."""
    cut = set()
    for _ in range(presses):
        page.keyboard.press("Tab")
        cut.add(page.evaluate(CUT_OFF))
    assert cut <= {""}, cut
