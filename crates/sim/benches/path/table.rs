//! The output: one line a figure, with what it is compared to.

use std::time::Duration;

/// Says on what this runs.
pub(crate) fn machine() {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let profile = if cfg!(debug_assertions) { "DEVELOPMENT profile" } else { "release profile" };
    println!("{processors} processors, load average {load}, {profile}");
}

/// Names what follows.
pub(crate) fn title(what: &str) {
    println!("\n{what}");
}

/// One figure.
pub(crate) fn line(what: &str, figure: &str, beside: &str) {
    println!("  {what:<58} {figure:>16}   {beside}");
}

/// So many in a second.
pub(crate) fn rate(per_second: f64) -> String {
    format!("{} /s", grouped(per_second))
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time of any length.
pub(crate) fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else if ms < 1_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.2} s", ms / 1e3)
    }
}

/// Bytes of any number.
pub(crate) fn bytes(bytes: f64) -> String {
    if bytes < 10_000.0 { format!("{} B", grouped(bytes)) } else { format!("{:.1} KiB", bytes / 1_024.0) }
}

/// `a` as so many times `b`.
pub(crate) fn times(a: Duration, b: Duration) -> String {
    format!("{:.1} x", a.as_secs_f64() / b.as_secs_f64().max(1e-9))
}

/// `a` as a share of `b`.
pub(crate) fn percent(a: f64, b: f64) -> String {
    format!("{:.0} %", 100.0 * a / b.max(1e-9))
}

/// The value that as many are below as above.
pub(crate) fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    percentile(values, 50)
}

/// The value that so many in a hundred are below. Of nothing there is none.
pub(crate) fn percentile<T: PartialOrd + Copy>(values: &mut [T], percent: usize) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values[(values.len() * percent / 100).min(values.len() - 1)]
}
