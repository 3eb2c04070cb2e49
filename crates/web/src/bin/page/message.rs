//! One message: its bubble, and the lines that stand before it.

use leptos::prelude::*;
use stonechat_api::{Body, Message, Status};
use stonechat_web::view::links::{Piece, pieces};

use crate::clock;
use crate::log::{Row, row_id};
use crate::picture::{Icon, Sign};
use crate::state::words;
use crate::text::Words;

/// A row of the log.
#[component]
pub(crate) fn MessageRow(
    row: Row,
    is_group: bool,
    /// Takes the text of a message that failed, to be written once more.
    on_again: Callback<String>,
) -> impl IntoView {
    let t = words();
    let Row { message, day, is_unread_from, is_first, is_last, is_sought } = row;
    let at = message.sent_at.0;
    let lines = view! {
        {day.map(|_| view! { <h3 class="day">{clock::day_line(at, t)}</h3> })}
        {is_unread_from.then(|| view! { <p class="day unread" id="unread-from">{t.unread_from_here}</p> })}
    };
    if let Body::Notice(notice) = &message.body {
        let class = if notice.is_loud() { "notice alarm" } else { "notice" };
        return view! {
            {lines}
            <p class=class id=row_id(&message.key())>
                {(t.codes.notice)(notice)}
            </p>
        }
        .into_any();
    }
    let mut class = String::from(if message.is_mine() { "bubble mine" } else { "bubble theirs" });
    for (is_so, name) in [(is_first, " first"), (is_last, " last"), (is_sought, " sought")] {
        class.push_str(if is_so { name } else { "" });
    }
    if message.status == Status::Failed {
        class.push_str(" failed");
    }
    let sender = is_first.then(|| {
        let name =
            if message.is_mine() { t.you.trim_end_matches(':').to_owned() } else { message.sender_handle.to_string() };
        let is_shown = is_group && !message.is_mine();
        view! { <span class=if is_shown { "sender" } else { "sender sr-only" }>{name}</span> }
    });
    let again = match (&message.body, message.status) {
        (Body::Text(text), Status::Failed) => {
            let text = text.0.clone();
            Some(view! {
                <button type="button" class="button quiet" on:click=move |_| on_again.run(text.clone())>
                    {t.write_again}
                </button>
            })
        }
        _ => None,
    };
    view! {
        {lines}
        <article class=class id=row_id(&message.key())>
            {sender}
            <MessageBody body=message.body.clone() />
            <span class="meta">
                <time datetime=clock::iso(at)>{clock::time(at, t)}</time>
                <StatusMark status=message.status />
            </span>
            {again}
        </article>
    }
    .into_any()
}

#[component]
fn MessageBody(body: Body) -> impl IntoView {
    let t = words();
    let Body::Text(text) = body else {
        return view! { <p class="text newer">{t.newer}</p> }.into_any();
    };
    let parts = pieces(&text).into_iter().map(|piece| match piece {
        Piece::Text(text) => text.to_owned().into_any(),
        Piece::Link { address, host } => view! {
            <a href=address.to_owned() target="_blank" rel="noopener noreferrer" title=(t.leads_to)(host)>
                {address.to_owned()}
            </a>
        }
        .into_any(),
    });
    // Languages are mixed in what people write: each text finds its own direction.
    view! { <p class="text" dir="auto">{parts.collect_view()}</p> }.into_any()
}

/// What one's own message is at.
#[component]
fn StatusMark(status: Status) -> impl IntoView {
    let t = words();
    match status {
        Status::Received => None,
        Status::Queued => Some(("status queued", Sign::Queued, t.queued, false)),
        Status::Sent => Some(("status sent", Sign::Sent, t.sent, true)),
        Status::Delivered => Some(("status delivered", Sign::Delivered, t.delivered, true)),
        Status::Failed => Some(("status failed", Sign::Failed, t.failed, false)),
    }
    .map(|(class, sign, name, is_plain)| {
        view! {
            <span class=class title=name>
                <Icon sign />
                <span class=if is_plain { "sr-only" } else { "" }>{name}</span>
            </span>
        }
    })
}

/// A message in one line, for a list.
pub(crate) fn preview(message: &Message, is_group: bool, words: &Words) -> String {
    let text = body(message, words);
    if matches!(message.body, Body::Notice(_)) {
        // Nobody wrote it.
        text
    } else if message.is_mine() {
        format!("{} {text}", words.you)
    } else if is_group {
        format!("{}: {text}", message.sender_handle)
    } else {
        text
    }
}

/// A message as screen readers say it when it arrives.
pub(crate) fn spoken(message: &Message, words: &Words) -> String {
    match message.body {
        Body::Notice(_) => body(message, words),
        Body::Text(_) | Body::Newer { .. } => format!("{}: {}", message.sender_handle, body(message, words)),
    }
}

/// No longer than a list shows.
fn body(message: &Message, words: &Words) -> String {
    match &message.body {
        Body::Text(text) => text.chars().take(PREVIEW_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect(),
        Body::Notice(notice) => (words.codes.notice)(notice),
        Body::Newer { .. } => words.newer.to_owned(),
    }
}

const PREVIEW_CHARS: usize = 200;
