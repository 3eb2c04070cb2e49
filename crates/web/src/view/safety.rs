//! Safety numbers for people: digits in groups, the code that another app scans, and what a camera saw of one.

use qrcode::QrCode;
use qrcode::types::{Color, EcLevel};
use quircs::Quirc;

/// The groups of five in which 60 digits are read aloud.
pub fn groups(digits: &str) -> Vec<String> {
    let digits: Vec<char> = digits.chars().collect();
    digits.chunks(GROUP).map(|five| five.iter().collect()).collect()
}

/// A QR code to be drawn: squares of 1 by 1 on a light ground.
pub struct Drawing {
    /// Width and height, with the light border that scanners need.
    pub side: usize,
    /// The dark squares, row by row, as the data of an SVG path.
    pub path: String,
}

/// The QR code of a text; `None` when it is too long for one.
pub fn drawing(text: &str) -> Option<Drawing> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let (width, colors) = (code.width(), code.to_colors());
    let mut path = String::new();
    for (y, row) in colors.chunks(width).enumerate() {
        let mut x = 0;
        while x < width {
            let dark = row[x..].iter().take_while(|color| **color == Color::Dark).count();
            if dark > 0 {
                path.push_str(&format!("M{} {}h{dark}v1h-{dark}z", x + BORDER, y + BORDER));
            }
            x += dark.max(1);
        }
    }
    Some(Drawing { side: width + 2 * BORDER, path })
}

/// The text of a QR code in a picture, if there is one that can be read. `pixels` are red, green, blue and opacity, row by row, as
/// a canvas gives them.
pub fn seen(pixels: &[u8], width: usize, height: usize) -> Option<String> {
    if width.checked_mul(height)?.checked_mul(4)? != pixels.len() {
        return None;
    }
    if pixels.is_empty() {
        return None;
    }
    // What eyes take for brightness, in 256ths.
    let brightness = |pixel: &[u8]| {
        let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        u8::try_from((red * 77 + green * 150 + blue * 29) >> 8).unwrap_or(u8::MAX)
    };
    let picture: Vec<u8> = pixels.chunks_exact(4).map(brightness).collect();
    let mut finder = Quirc::default();
    let mut codes = finder.identify(width, height, &picture);
    codes.find_map(|code| String::from_utf8(code.ok()?.decode().ok()?.payload).ok())
}

const GROUP: usize = 5;
/// Light squares around a code: ISO/IEC 18004 asks for four.
const BORDER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> String {
        format!("STONECHAT:1:{}:{}", "A1".repeat(32), "0F".repeat(32))
    }

    /// What a canvas gives of a drawing whose squares are `scale` pixels wide.
    fn photo(drawing: &Drawing, scale: usize) -> (Vec<u8>, usize) {
        let side = drawing.side * scale;
        let mut dark = vec![false; drawing.side * drawing.side];
        for run in drawing.path.split('M').filter(|run| !run.is_empty()) {
            let (x, rest) = run.split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let (length, _) = rest.split_once('v').unwrap();
            let [x, y, length] = [x, y, length].map(|number| number.parse::<usize>().unwrap());
            dark[y * drawing.side + x..][..length].fill(true);
        }
        let square = |x: usize, y: usize| dark[y / scale * drawing.side + x / scale];
        let pixels = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
        (pixels.flat_map(|(x, y)| if square(x, y) { [20, 24, 30, 255] } else { [240, 238, 230, 255] }).collect(), side)
    }

    #[test]
    fn digits_are_read_in_twelve_groups_of_five() {
        let groups = groups(&"0123456789".repeat(6));
        assert_eq!(groups.len(), 12);
        assert!(groups.iter().step_by(2).all(|group| group == "01234"));
    }

    #[test]
    fn what_is_drawn_is_seen() {
        let drawing = drawing(&code()).unwrap();
        let (pixels, side) = photo(&drawing, 6);
        assert_eq!(seen(&pixels, side, side), Some(code()));
    }

    #[test]
    fn a_picture_without_a_code_shows_nothing() {
        assert_eq!(seen(&[127; 4 * 64 * 48], 64, 48), None);
        assert_eq!(seen(&[], 0, 0), None);
        assert_eq!(seen(&[0; 8], 64, 48), None, "not the size that it says");
    }

    #[test]
    fn no_picture_stops_the_page() {
        let drawing = drawing(&code()).unwrap();
        let (whole, side) = photo(&drawing, 3);
        // Reproducible noise: xorshift64 (Marsaglia, 2003).
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..300 {
            let mut pixels = whole.clone();
            for _ in 0..(random() % 4_000) {
                let at = (random() % (pixels.len() as u64)) as usize;
                pixels[at] = random() as u8;
            }
            // Cut off at some row, too.
            let rows = if round % 3 == 0 { 1 + (random() as usize % side) } else { side };
            let seen = seen(&pixels[..rows * side * 4], side, rows);
            assert!(seen.is_none_or(|text| text == code()), "a damaged code is read right or not at all");
        }
    }

    #[test]
    fn a_text_that_fits_no_code_is_not_drawn() {
        assert!(drawing(&"X".repeat(10_000)).is_none());
    }
}
