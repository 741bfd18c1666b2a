"""What of a widget a reader sees first: in JupyterLab at 1280 × 800 with its sidebar an output has 848 × 640 px."""

WIDTH, HEIGHT = 848, 640
MISSING = """([root, names, width, height]) => {
    const all = root.getBoundingClientRect(), missing = [];
    if (all.width > width + 1) missing.push(`the widget is ${all.width} px wide`);
    const hint = root.querySelector(".llmlab-hint"), line = parseFloat(getComputedStyle(hint).lineHeight);
    const lines = Math.round(hint.getBoundingClientRect().height / line);
    if (lines !== 1) missing.push(`the hint takes ${lines} lines`);
    for (const name of names) for (const part of root.querySelectorAll(name)) {
        const box = part.getBoundingClientRect();
        if (box.bottom - all.top > height || box.right > all.right)
            missing.push(`${name} ends ${Math.round(box.bottom - all.top)} px below and ` +
                `${Math.round(box.right - all.left)} px beside the corner of the widget`);
        for (let around = part; around !== root; around = around.parentElement)
            if (around.scrollHeight > around.clientHeight + 1 && getComputedStyle(around).overflowY !== "visible" &&
                !/^(SELECT|INPUT|TEXTAREA|CANVAS)$/.test(around.tagName))
                missing.push(`${name} scrolls inside ${around.className}`);
    }
    return missing;
}"""


def first_view(seen, *names):
    """What of these parts (CSS selectors) does not fit into the first view, hint and controls included; [] if all do.

    `seen` has a `page` in which JupyterLab shows the widget, and its `root`. The window gets the size in question.
    """
    seen.page.set_viewport_size({"width": 1280, "height": 800})
    seen.page.evaluate("() => window.jupyterapp.shell.expandLeft()")
    seen.page.wait_for_timeout(300)
    missing = seen.root.evaluate(
        f"(root, [names, width, height]) => ({MISSING})([root, names, width, height])", [list(names), WIDTH, HEIGHT]
    )
    count = [seen.root.locator(name).count() for name in names]
    return missing + [f"{name} is not there" for name, n in zip(names, count, strict=True) if not n]
