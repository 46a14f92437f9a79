// How tiles share the stage. Pure arithmetic.

/** Columns and tile width (px) that show `count` tiles as large as possible in `width` × `height` px. When they would become
 *  narrower than `smallest`, the stage scrolls instead. `gap` px lie between tiles. */
export function arrange(count, width, height, { gap = 12, ratio = 16 / 9, smallest = 260 } = {}) {
  if (count < 1 || width <= 0) return { columns: 1, tile: Math.max(0, width) };
  let best = { columns: 1, tile: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const byWidth = (width - gap * (columns - 1)) / columns;
    const byHeight = ((height - gap * (rows - 1)) / rows) * ratio;
    const tile = Math.floor(Math.min(byWidth, byHeight));
    if (tile > best.tile) best = { columns, tile };
  }
  const floor = Math.min(smallest, width);
  if (best.tile >= floor) return best;
  const columns = Math.max(1, Math.min(count, Math.floor((width + gap) / (floor + gap))));
  return { columns, tile: Math.floor((width - gap * (columns - 1)) / columns) };
}
