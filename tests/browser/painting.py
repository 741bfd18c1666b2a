"""When a page has drawn what it has to draw."""

# Resolves after two frames: what a page does on account of its size, it does after the first.
PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
