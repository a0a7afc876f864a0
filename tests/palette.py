"""A picture with 256 colours: pages have few, and a PNG with a palette is a third as large."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

from playwright.sync_api import Browser

_REDUCE = """async (url) => {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
  const count = new Map();
  for (const one of pixels) count.set(one, (count.get(one) || 0) + 1);
  const colours = [...count.keys()];
  const part = (colour, shift) => (colour >>> shift) & 255;
  const far = (a, b) => [0, 8, 16].reduce((sum, shift) => sum + (part(a, shift) - part(b, shift)) ** 2, 0);
  const kept = [];
  const place = new Map();
  const off = new Map(colours.map((one) => [one, 1e6]));
  while (kept.length < Math.min(256, colours.length)) {
    const next = colours.reduce((a, b) => (off.get(b) * count.get(b) > off.get(a) * count.get(a) ? b : a));
    for (const one of colours) {
      if (far(one, next) < off.get(one)) {
        off.set(one, far(one, next));
        place.set(one, kept.length);
      }
    }
    kept.push(next);
  }
  const text = (bytes) => {
    let out = "";
    for (let at = 0; at < bytes.length; at += 4096) {
      out += String.fromCharCode(...bytes.subarray(at, at + 4096));
    }
    return btoa(out);
  };
  return {
    width: image.width,
    height: image.height,
    palette: text(Uint8Array.from(kept.flatMap((one) => [0, 8, 16].map((shift) => part(one, shift))))),
    pixels: text(Uint8Array.from(pixels, (one) => place.get(one))),
  };
}"""
"""The colours that leave the least wrong, and for each pixel the number of the nearest of them."""


def reduced(png: bytes, browser: Browser) -> bytes:
    """The picture as a PNG with a palette; the browser counts the colours."""
    page = browser.new_page()
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    found: dict[str, Any] = page.evaluate(_REDUCE, url)
    page.close()
    width, height = found["width"], found["height"]
    pixels = base64.b64decode(found["pixels"])
    lines = b"".join(b"\0" + pixels[at : at + width] for at in range(0, width * height, width))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", base64.b64decode(found["palette"])),
            _chunk(b"IDAT", zlib.compress(lines, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
