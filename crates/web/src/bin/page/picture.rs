//! Pictures: an account's, drawn from its id, with the lock over it; and the signs on buttons.

use leptos::prelude::*;
use stonechat_api::{Conversation, Lock};
use stonechat_web::view::identicon::{Identicon, SIDE};

use crate::state::words;

/// The picture of an account, or of a group, for those who see; its name stands beside it.
#[component]
pub(crate) fn Picture(
    /// The account's or the conversation's id.
    #[prop(into)]
    id: String,
    /// The lock over it; none where nothing was checked.
    #[prop(optional)]
    lock: Option<Lock>,
    #[prop(optional)] large: bool,
) -> impl IntoView {
    let picture = Identicon::of(&id);
    let cells = picture.cells.iter().enumerate().flat_map(|(y, row)| {
        let filled = row.iter().enumerate().filter(|(_, filled)| **filled);
        filled.map(move |(x, _)| view! { <rect x={x.to_string()} y={y.to_string()} width="1.03" height="1.03" /> })
    });
    let sides = format!("-1 -1 {0} {0}", SIDE + 2);
    view! {
        <span class=if large { "avatar large" } else { "avatar" }>
            <svg class=format!("identicon hue-{}", picture.hue) viewBox=sides aria-hidden="true" focusable="false">
                {cells.collect_view()}
            </svg>
            {lock.map(|lock| view! { <LockBadge lock /> })}
        </span>
    }
}

/// A conversation's picture: the other person's, or its own where it is a group.
#[component]
pub(crate) fn ConversationPicture(of: Conversation, #[prop(optional)] large: bool) -> impl IntoView {
    let id = of.peer.map_or_else(|| of.id.to_string(), |peer| peer.to_string());
    view! { <Picture id lock=of.lock large /> }
}

/// Whether what is shown is verified.
#[component]
pub(crate) fn LockBadge(lock: Lock) -> impl IntoView {
    let t = words();
    let (class, name, bow) = match lock {
        Lock::Closed => ("lock closed", t.verified, "M5 7V5a3 3 0 0 1 6 0v2"),
        Lock::Open(_) => ("lock open", t.not_verified, "M5 7V4a3 3 0 0 1 5.6-1.5"),
    };
    view! {
        <span class=class role="img" aria-label=name title=name>
            <svg viewBox="0 0 16 16" aria-hidden="true" focusable="false">
                <path d=bow fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" />
                <rect x={"3"} y="7" width="10" height="7" rx="2" fill="currentColor" />
            </svg>
        </span>
    }
}

/// A sign on a button that has a name of its own.
#[derive(Clone, Copy)]
pub(crate) enum Sign {
    Back,
    Close,
    Settings,
    NewMessage,
    NewGroup,
    Send,
    Details,
    Down,
    Sent,
    Delivered,
    Queued,
    Failed,
    Search,
    Requests,
    Compared,
    Camera,
}

impl Sign {
    fn lines(self) -> &'static str {
        match self {
            Self::Back => "M15 5l-7 7 7 7",
            Self::Close => "M6 6l12 12M18 6L6 18",
            Self::Settings => {
                "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5M9 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5"
            }
            Self::NewMessage => {
                "M12 20H6a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2h7M18.4 3.6a2 2 0 0 1 2.9 2.9L13 14.8l-3.8 1 1-3.8z"
            }
            Self::NewGroup => {
                "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M2.5 20c0-3.6 2.9-6 6.5-6s6.5 2.4 6.5 6M18 8v6M15 11h6"
            }
            Self::Send => "M4 12l16-8-6 17-3-7z",
            Self::Details => "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 11v5M12 7.6v.2",
            Self::Down => "M12 5v14M6 13l6 6 6-6",
            Self::Sent => "M5 13l4.5 4.5L19 7",
            Self::Delivered => "M2 13l4.5 4.5L16 7M12 17.5L22 7",
            Self::Queued => "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7v5l3.5 2",
            Self::Failed => "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7.5v5.5M12 16.2v.2",
            Self::Search => "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M16 16l4.5 4.5",
            Self::Requests => "M4 6h16v11H9l-5 4zM9 11.5h6",
            Self::Compared => "M12 3l7 2.5v5.5c0 4.6-2.9 8.2-7 10-4.1-1.8-7-5.4-7-10V5.5zM8.5 11.8l2.5 2.5 4.5-5",
            Self::Camera => "M4 8h3.5l1.5-2.5h6L16.5 8H20v11H4zM12 10a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7",
        }
    }
}

/// Draws a sign.
#[component]
pub(crate) fn Icon(sign: Sign) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
            <path
                d=sign.lines()
                fill="none"
                stroke="currentColor"
                stroke-width="1.8"
                stroke-linecap="round"
                stroke-linejoin="round"
            />
        </svg>
    }
}
