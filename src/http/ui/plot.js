// A small line over the last minute, drawn on a canvas. Colours come from the style sheet.

/** Points (0..1 from the left and from the top) of a series whose scale reaches at least `floor`. Null values leave gaps: each
 *  inner list is an unbroken piece. */
export function trace(values, kept, floor) {
  const top = Math.max(floor, ...values.map(value => value ?? 0));
  const pieces = [[]];
  values.forEach((value, index) => {
    if (value === null) {
      if (pieces.at(-1).length) pieces.push([]);
      return;
    }
    pieces.at(-1).push([(kept - values.length + index) / (kept - 1), 1 - value / top]);
  });
  return pieces.filter(piece => piece.length);
}

/** Draws a series; the canvas keeps its size in the layout. */
export function draw(canvas, values, { kept, floor }) {
  const scale = globalThis.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext('2d');
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const place = ([x, y]) => [1 + x * (width - 2), 1.5 + y * (height - 3)];
  // the time before the first figure has a faint ground
  context.globalAlpha = 0.3;
  context.fillStyle = style.color;
  context.fillRect(0, height - 1, width, 1);
  context.globalAlpha = 1;
  context.lineWidth = 1.5;
  context.lineJoin = 'round';
  for (const piece of trace(values, kept, floor)) {
    const points = piece.map(place);
    context.beginPath();
    points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (points.length === 1) context.lineTo(points[0][0] + 1, points[0][1]);
    context.strokeStyle = style.color;
    context.stroke();
    context.lineTo(points.at(-1)[0], height);
    context.lineTo(points[0][0], height);
    context.globalAlpha = 0.16;
    context.fillStyle = style.color;
    context.fill();
    context.globalAlpha = 1;
  }
}
