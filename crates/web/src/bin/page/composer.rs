//! Where one writes. What was typed and not sent is kept.

use std::time::Duration;

use leptos::ev::{KeyboardEvent, SubmitEvent};
use leptos::html::Textarea;
use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Command, Conversation, Outcome, TEXT_BYTES_MAX, Target, Text};
use stonechat_web::protocol::Request;
use stonechat_wire::ConversationId;

use crate::picture::{Icon, Sign};
use crate::state::{Route, State, state, words};

/// The box below a conversation, or below an empty one with somebody.
#[component]
pub(crate) fn Composer(
    to: Target,
    /// What stands in it.
    text: RwSignal<String>,
) -> impl IntoView {
    let t = words();
    let state = state();
    let fault = RwSignal::new(None::<String>);
    let is_sending = RwSignal::new(false);
    let area = NodeRef::<Textarea>::new();
    let conversation = match &to {
        Target::Conversation(id) => Some(*id),
        Target::Person(_) => None,
    };
    let drafts = conversation.map(|id| Drafts { state, id, last: StoredValue::new(0) });
    let sent_drafts = drafts.clone();
    let send = move || {
        let written = text.get_untracked();
        if written.trim().is_empty() || is_sending.get_untracked() {
            return;
        }
        if written.len() > TEXT_BYTES_MAX {
            fault.set(Some(t.too_long.to_owned()));
            return;
        }
        let (to, drafts) = (to.clone(), sent_drafts.clone());
        is_sending.set(true);
        fault.set(None);
        // Nobody types the same twice because a server is slow: it comes back when it fails.
        text.set(String::new());
        spawn_local(async move {
            let is_first = matches!(to, Target::Person(_));
            match state.run(Command::Send { to, text: Text(written.clone()) }).await {
                Ok(Outcome::Queued { conversation, .. }) if is_first && state.route.get_untracked() == Route::New => {
                    state.go(&Route::Conversation(conversation));
                }
                Ok(_) => {
                    if let (Some(drafts), Some(text)) = (drafts, text.try_get_untracked()) {
                        drafts.save(text);
                    }
                }
                Err(why) => {
                    text.update(|text| text.insert_str(0, &written));
                    fault.set(Some(t.fault(&why)));
                }
            }
            is_sending.set(false);
        });
        if let Some(area) = area.get_untracked() {
            // On a touch screen the keyboard stays where it is.
            let _ = area.focus();
        }
    };
    // Grows with what is written; the style sheet says how far.
    Effect::new(move || {
        let written = text.get();
        if let Some(area) = area.get() {
            if area.value() != written {
                area.set_value(&written);
            }
            let style = web_sys::HtmlElement::style(&area);
            let _ = style.set_property("height", "auto");
            let _ = style.set_property("height", &format!("{}px", area.scroll_height()));
        }
    });
    let on_input = {
        let drafts = drafts.clone();
        move |event| {
            text.set(event_target_value(&event));
            if let Some(drafts) = &drafts {
                drafts.save_soon(text);
            }
        }
    };
    // Somebody who goes on to another conversation finds the draft here later.
    if let Some(drafts) = drafts {
        on_cleanup(move || {
            if let Some(text) = text.try_get_untracked() {
                drafts.save(text);
            }
        });
    }
    let on_submit = {
        let send = send.clone();
        move |event: SubmitEvent| {
            event.prevent_default();
            send();
        }
    };
    let on_key = move |event: KeyboardEvent| {
        // While letters are put together (Japanese, accents), Enter is theirs. On a touch screen it breaks the line.
        let is_plain = event.key() == "Enter" && !event.shift_key() && !event.is_composing() && !is_touch();
        if is_plain {
            event.prevent_default();
            send();
        }
    };
    view! {
        <form class="composer" on:submit=on_submit>
            {move || fault.get().map(|text| view! { <p class="error" role="alert">{text}</p> })}
            <textarea
                node_ref=area
                id="message"
                rows="1"
                placeholder=t.message
                aria-label=t.message
                autocomplete="off"
                enterkeyhint=if is_touch() { "enter" } else { "send" }
                dir="auto"
                on:input=on_input
                on:keydown=on_key
            ></textarea>
            <button type="submit" class="button primary icon" aria-label=t.send title=t.send disabled=move || is_sending.get()>
                <Icon sign=Sign::Send />
            </button>
        </form>
    }
}

/// Saves what was typed, a moment after it was.
#[derive(Clone)]
struct Drafts {
    state: State,
    id: ConversationId,
    last: StoredValue<u64>,
}

impl Drafts {
    fn save_soon(&self, text: RwSignal<String>) {
        self.last.update_value(|last| *last += 1);
        let now = self.last.get_value();
        let drafts = self.clone();
        set_timeout(
            move || {
                // Gone or typed on since: then it is saved there.
                if drafts.last.try_get_value() == Some(now)
                    && let Some(text) = text.try_get_untracked()
                {
                    drafts.save(text);
                }
            },
            SAVED_AFTER,
        );
    }

    fn save(&self, text: String) {
        let text = Text(text);
        let is_new = |one: &Conversation| one.id == self.id && one.draft.as_deref().unwrap_or_default() != &*text;
        if self.state.conversations.with_untracked(|all| all.iter().any(is_new)) {
            // Nobody is told of a draft: the list shows it from here.
            self.state.conversations.update(|all| {
                if let Some(one) = all.iter_mut().find(|one| one.id == self.id) {
                    one.draft = Some(text.clone()).filter(|text| !text.is_empty());
                }
            });
            self.state.tell(Request::SaveDraft { conversation: self.id, text });
        }
    }
}

/// Whether fingers do the typing.
pub(crate) fn is_touch() -> bool {
    window().match_media("(pointer: coarse)").ok().flatten().is_some_and(|query| query.matches())
}

/// Puts the cursor into the box, where that opens no keyboard over half of the screen.
pub(crate) fn focus_composer() {
    use wasm_bindgen::JsCast as _;
    if is_touch() {
        return;
    }
    if let Some(area) =
        document().get_element_by_id("message").and_then(|area| area.dyn_into::<web_sys::HtmlElement>().ok())
    {
        let _ = area.focus();
    }
}

const SAVED_AFTER: Duration = Duration::from_millis(600);
