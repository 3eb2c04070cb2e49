//! Times as the reader's place and language write them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use js_sys::{Array, Date, Function, Intl, Object, Reflect};
use stonechat_web::view::days::{Day, DayName};
use wasm_bindgen::JsValue;

use crate::text::Words;

/// The day of a moment where the reader is.
pub(crate) fn day(at_ms: u64) -> Day {
    #[expect(clippy::cast_possible_truncation, reason = "minutes of a day")]
    let behind = date(at_ms).get_timezone_offset() as i32;
    Day::of(at_ms, -behind)
}

/// `09:41`.
pub(crate) fn time(at_ms: u64, words: &Words) -> String {
    format(at_ms, words, &[("hour", "2-digit"), ("minute", "2-digit")])
}

/// What stands above a day's messages.
pub(crate) fn day_line(at_ms: u64, words: &Words) -> String {
    let (day, today) = (day(at_ms), today());
    let name = day.name(today);
    if let Some(name) = (words.day)(name) {
        return name.to_owned();
    }
    let year = [("year", "numeric")];
    let parts = [("weekday", "long"), ("day", "numeric"), ("month", "long")];
    let parts = if today.0 - day.0 > 300 { [parts.as_slice(), &year].concat() } else { parts.to_vec() };
    format(at_ms, words, &parts)
}

/// As short as it stays plain: the time today, then the day.
pub(crate) fn short(at_ms: u64, words: &Words) -> String {
    match day(at_ms).name(today()) {
        DayName::Today => time(at_ms, words),
        DayName::Yesterday => (words.day)(DayName::Yesterday).unwrap_or_default().to_owned(),
        DayName::Weekday => format(at_ms, words, &[("weekday", "short")]),
        DayName::Date => format(at_ms, words, &[("day", "numeric"), ("month", "short"), ("year", "2-digit")]),
    }
}

/// Day and time, where a moment stands alone.
pub(crate) fn moment(at_ms: u64, words: &Words) -> String {
    let parts =
        [("day", "numeric"), ("month", "short"), ("year", "numeric"), ("hour", "2-digit"), ("minute", "2-digit")];
    format(at_ms, words, &parts)
}

/// For `<time datetime>`.
pub(crate) fn iso(at_ms: u64) -> String {
    let date = date(at_ms);
    if date.get_time().is_nan() { String::new() } else { date.to_iso_string().into() }
}

fn today() -> Day {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
    day(Date::now() as u64)
}

fn date(at_ms: u64) -> Date {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^53 for very long")]
    Date::new(&JsValue::from_f64(at_ms as f64))
}

fn format(at_ms: u64, words: &Words, parts: &[(&str, &str)]) -> String {
    // Making a format takes the browser far longer than using it.
    let name = parts.iter().fold(words.tag.to_owned(), |name, (part, how)| format!("{name} {part} {how}"));
    let format = FORMATS.with_borrow_mut(|all| all.entry(name).or_insert_with(|| new_format(words, parts)).clone());
    format.call1(&JsValue::UNDEFINED, &date(at_ms)).ok().and_then(|text| text.as_string()).unwrap_or_default()
}

fn new_format(words: &Words, parts: &[(&str, &str)]) -> Function {
    // The browser's own tag where it is of this language: `en-GB` writes other dates than `en-US`.
    let tags = web_sys::window().map(|window| window.navigator().languages()).unwrap_or_default();
    let own = tags.iter().filter_map(|tag| tag.as_string()).find(|tag| tag.split('-').next() == Some(words.tag));
    let options = Object::new();
    for (name, value) in parts {
        // Setting a field of an object that was just made does not fail.
        let _ = Reflect::set(&options, &(*name).into(), &(*value).into());
    }
    let tags = Array::of1(&own.unwrap_or_else(|| words.tag.to_owned()).into());
    Intl::DateTimeFormat::new(&tags, &options).format()
}

thread_local! {
    /// By language and parts: a handful.
    static FORMATS: RefCell<BTreeMap<String, Function>> = RefCell::default();
}
