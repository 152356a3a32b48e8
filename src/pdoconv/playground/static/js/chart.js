// PSNR over the steps as a small chart.

import { fitted, styled } from "./colours.js";

/** Draw curves `[{values, colour, width}]` over steps 0 to `steps`, with a mark at step `now` of the last one. */
export function drawChart(canvas, curves, steps, now) {
  const { context, width, height } = fitted(canvas);
  const known = curves.flatMap(({ values }) => values.filter(Number.isFinite));
  if (!width || !known.length) return;
  const [left, right, top, bottom] = [52, 12, 10, 24];
  const low = Math.floor(Math.min(...known) - 0.2);
  const high = Math.ceil(Math.max(...known) + 0.2);
  const x = (k) => left + ((width - left - right) * k) / steps;
  const y = (value) => top + ((height - top - bottom) * (high - value)) / (high - low);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = styled("--soft");
  context.strokeStyle = styled("--line");
  const lines = Math.max(1, Math.ceil((high - low) / 5));
  context.textAlign = "right";
  for (let value = low; value <= high; value += lines) {
    context.fillText(`${value} dB`, left - 8, y(value) + 4);
    context.fillRect(left, Math.round(y(value)), 0, 0);
    context.beginPath();
    context.moveTo(left, y(value));
    context.lineTo(width - right, y(value));
    context.stroke();
  }
  context.textAlign = "center";
  for (let k = 0; k <= steps; k += steps > 12 ? 5 : 2) context.fillText(k ? String(k) : "step 0", x(k), height - 6);
  for (const { values, colour, width: thick } of curves) {
    context.strokeStyle = styled(colour);
    context.lineWidth = thick;
    context.beginPath();
    values.forEach((value, k) => Number.isFinite(value) && context.lineTo(x(k), y(value)));
    context.stroke();
  }
  const last = curves.at(-1);
  if (!Number.isFinite(last.values[now])) return;
  context.fillStyle = styled(last.colour);
  context.beginPath();
  context.arc(x(now), y(last.values[now]), 5, 0, 2 * Math.PI);
  context.fill();
}
