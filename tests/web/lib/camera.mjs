// What a fake camera sees: Chromium plays a file instead of asking for a real one.

import fs from 'node:fs';

/** Chromium's switches for a camera that shows `file`, and nobody to be asked whether it may be used. */
export const fakeCamera = (file) => ['--use-fake-device-for-media-stream', `--use-file-for-fake-video-capture=${file}`];

/**
 * Writes what a camera sees that is held before the QR code in `drawing`: `{ side, path }`, as the page draws it. Without one it
 * sees a grey wall.
 */
export function film(file, drawing) {
  const luma = Buffer.alloc(WIDTH * HEIGHT, 128);
  if (drawing) {
    const scale = Math.floor(HEIGHT / drawing.side);
    const [left, top] = [(WIDTH - drawing.side * scale) >> 1, (HEIGHT - drawing.side * scale) >> 1];
    const fill = (x, y, width, height, light) => {
      for (let row = y; row < y + height; row += 1) luma.fill(light, row * WIDTH + x, row * WIDTH + x + width);
    };
    fill(left, top, drawing.side * scale, drawing.side * scale, 225);
    for (const [, x, y, length] of drawing.path.matchAll(/M(\d+) (\d+)h(\d+)/g)) {
      fill(left + x * scale, top + y * scale, length * scale, scale, 30);
    }
  }
  const frame = Buffer.concat([Buffer.from('FRAME\n'), luma, Buffer.alloc((WIDTH * HEIGHT) / 2, 128)]);
  const header = `YUV4MPEG2 W${WIDTH} H${HEIGHT} F10:1 Ip A1:1 C420jpeg\n`;
  fs.writeFileSync(file, Buffer.concat([Buffer.from(header), frame, frame]));
}

/** The drawing of the QR code in a dialog. */
export async function drawingOf(code) {
  const [box, path] = await code.evaluate((svg) => [svg.getAttribute('viewBox'), svg.querySelector('path').getAttribute('d')]);
  return { side: Number(box.split(' ')[2]), path };
}

const [WIDTH, HEIGHT] = [640, 480];
