//! The picture of an account that has set none: drawn from its id, the same on every device, and never fetched from anywhere.

/// Cells to a side.
pub const SIDE: usize = 5;
/// Colours to choose from: `hue-0` to `hue-7` in the stylesheet.
pub const HUES: u8 = 8;

/// A mirrored pattern and a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identicon {
    /// Rows from the top, cells from the left; mirrored about the middle column.
    pub cells: [[bool; SIDE]; SIDE],
    /// 0 to [`HUES`] - 1.
    pub hue: u8,
}

impl Identicon {
    /// The picture of an id in hex. Ids are hashes: their digits are spread evenly. Any other text has a picture too.
    pub fn of(id: &str) -> Self {
        let digits: Vec<u8> = id.bytes().filter_map(|b| (b as char).to_digit(16)).map(|d| d as u8).collect();
        let digit = |at: usize| digits.get(at).copied().unwrap_or(0);
        let mut cells = [[false; SIDE]; SIDE];
        for (y, row) in cells.iter_mut().enumerate() {
            for x in 0..SIDE.div_ceil(2) {
                let filled = digit(2 + y * SIDE.div_ceil(2) + x) % 2 == 1;
                row[x] = filled;
                row[SIDE - 1 - x] = filled;
            }
        }
        Self { cells, hue: (digit(0) * 16 + digit(1)) % HUES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_mirrored_and_steady() {
        let id = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let picture = Identicon::of(id);
        assert_eq!(picture, Identicon::of(id));
        for row in picture.cells {
            assert_eq!((row[0], row[1]), (row[4], row[3]));
        }
        assert_eq!(picture.hue, 0xe3 % HUES);
    }

    #[test]
    fn different_ids_differ_and_odd_texts_do_no_harm() {
        assert_ne!(Identicon::of("00ff00ff00ff00ff00ff"), Identicon::of("01ff10ff01f010ff00ff"));
        for odd in ["", "zz", "@", "ü"] {
            assert!(Identicon::of(odd).hue < HUES);
        }
    }
}
