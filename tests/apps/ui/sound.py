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
