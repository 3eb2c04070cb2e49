//! Which rows of a long list are in view. Rows that were never drawn count as high as guessed; drawn ones as they were measured.

use std::ops::Range;

/// The heights of all rows, in CSS pixels, with sums in logarithmic time (a Fenwick tree).
#[derive(Clone, Debug, PartialEq)]
pub struct Heights {
    rows: Vec<f64>,
    sums: Vec<f64>,
    guess: f64,
}

impl Heights {
    /// `count` rows of a guessed height.
    pub fn new(count: usize, guess: f64) -> Self {
        let mut new = Self { rows: vec![guess; count], sums: Vec::new(), guess };
        new.sum_up();
        new
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Puts `count` rows of guessed height before the first.
    pub fn grow_front(&mut self, count: usize) {
        self.rows.splice(0..0, std::iter::repeat_n(self.guess, count));
        self.sum_up();
    }

    /// Puts `count` rows of guessed height behind the last.
    pub fn grow_back(&mut self, count: usize) {
        self.rows.extend(std::iter::repeat_n(self.guess, count));
        self.sum_up();
    }

    /// What a drawn row measures. Returns by how much it was guessed wrong; 0 for a row that is not there.
    pub fn measure(&mut self, row: usize, height: f64) -> f64 {
        let Some(known) = self.rows.get_mut(row) else { return 0.0 };
        let change = height - *known;
        *known = height;
        let mut at = row + 1;
        while at <= self.sums.len() {
            self.sums[at - 1] += change;
            at += at & at.wrapping_neg();
        }
        change
    }

    /// Where a row starts: the height of all rows before it.
    pub fn offset(&self, row: usize) -> f64 {
        let (mut at, mut sum) = (row.min(self.rows.len()), 0.0);
        while at > 0 {
            sum += self.sums[at - 1];
            at &= at - 1;
        }
        sum
    }

    /// The height of the whole list.
    pub fn total(&self) -> f64 {
        self.offset(self.rows.len())
    }

    /// The row at a height from the top; the last one for what lies below.
    pub fn row_at(&self, y: f64) -> usize {
        let (mut at, mut left) = (0, y);
        let mut step = self.rows.len().next_power_of_two();
        while step > 0 {
            if at + step <= self.rows.len() && self.sums[at + step - 1] <= left {
                at += step;
                left -= self.sums[at - 1];
            }
            step /= 2;
        }
        at.min(self.rows.len().saturating_sub(1))
    }

    /// The rows to draw when `view` pixels from `top` are seen, and `beyond` pixels more on both sides.
    pub fn in_view(&self, top: f64, view: f64, beyond: f64) -> Range<usize> {
        if self.rows.is_empty() {
            return 0..0;
        }
        self.row_at((top - beyond).max(0.0))..self.row_at(top + view + beyond) + 1
    }

    fn sum_up(&mut self) {
        self.sums = vec![0.0; self.rows.len()];
        for at in 1..=self.rows.len() {
            self.sums[at - 1] += self.rows[at - 1];
            let parent = at + (at & at.wrapping_neg());
            if parent <= self.rows.len() {
                self.sums[parent - 1] += self.sums[at - 1];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_follow_measures() {
        let mut heights = Heights::new(1_000, 40.0);
        assert_eq!((heights.total(), heights.offset(10), heights.row_at(400.0)), (40_000.0, 400.0, 10));
        assert_eq!(heights.measure(3, 100.0), 60.0);
        assert_eq!(heights.measure(1_000, 100.0), 0.0);
        assert_eq!((heights.offset(3), heights.offset(4), heights.total()), (120.0, 220.0, 40_060.0));
        assert_eq!(
            (heights.row_at(119.9), heights.row_at(120.0), heights.row_at(219.9), heights.row_at(220.0)),
            (2, 3, 3, 4)
        );
        assert_eq!((heights.row_at(-1.0), heights.row_at(1e9)), (0, 999));
    }

    #[test]
    fn few_rows_are_in_view_of_many() {
        let heights = Heights::new(10_000, 40.0);
        assert_eq!(heights.in_view(4_000.0, 800.0, 200.0), 95..126);
        assert_eq!(heights.in_view(0.0, 800.0, 200.0), 0..26);
        assert_eq!(heights.in_view(399_200.0, 800.0, 200.0), 9_975..10_000);
        assert_eq!(Heights::new(0, 40.0).in_view(0.0, 800.0, 200.0), 0..0);
    }

    #[test]
    fn a_list_grows_at_both_ends_and_keeps_what_was_measured() {
        let mut heights = Heights::new(2, 10.0);
        heights.measure(0, 25.0);
        heights.grow_front(3);
        heights.grow_back(1);
        assert_eq!((heights.len(), heights.offset(3), heights.offset(4), heights.total()), (6, 30.0, 55.0, 75.0));
    }

    #[test]
    fn any_point_lies_in_its_row() {
        let mut heights = Heights::new(137, 20.0);
        for row in 0..137 {
            heights.measure(row, 5.0 + f64::from(u32::try_from(row * 7 % 31).expect("small")));
        }
        for row in 0..137 {
            let (start, end) = (heights.offset(row), heights.offset(row + 1));
            assert_eq!((heights.row_at(start), heights.row_at((start + end) / 2.0)), (row, row));
        }
    }
}
