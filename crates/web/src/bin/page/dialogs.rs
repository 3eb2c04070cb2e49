//! Dialogs: their frame, and those that start something new.

use leptos::ev::SubmitEvent;
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Command, GROUP_NAME_BYTES_MAX, Outcome, Target, Text};
use stonechat_web::protocol::Request;
use stonechat_wire::{ConversationId, Handle};
use wasm_bindgen::JsCast as _;

use crate::alarms::Alarms;
use crate::details::Details;
use crate::picture::{Icon, Sign};
use crate::settings::{Settings, SignOut};
use crate::start::{focus_field, parse_handle};
use crate::state::{Dialog, Route, state, words};
use crate::trust::{SafetyNumber, WhyLock};

/// The dialog that is open, if one is.
#[component]
pub(crate) fn OpenDialog() -> impl IntoView {
    let state = state();
    move || {
        state.dialog.get().map(|dialog| match dialog {
            Dialog::NewMessage => view! { <NewMessage /> }.into_any(),
            Dialog::NewGroup => view! { <NewGroup /> }.into_any(),
            Dialog::Details(id) => view! { <Details id /> }.into_any(),
            Dialog::Why(id) => view! { <WhyLock id /> }.into_any(),
            Dialog::Safety(with) => view! { <SafetyNumber with /> }.into_any(),
            Dialog::Alarms => view! { <Alarms /> }.into_any(),
            Dialog::Settings => view! { <Settings /> }.into_any(),
            Dialog::SignOut => view! { <SignOut /> }.into_any(),
        })
    }
}

/// A second question, before what is not undone easily. One of its buttons gets the focus.
#[component]
pub(crate) fn SecondQuestion(
    #[prop(into)] text: String,
    /// What is done.
    #[prop(into)]
    yes: String,
    /// It is done for good.
    #[prop(optional)]
    is_danger: bool,
    /// The focus goes to "Cancel" instead of to the deed.
    #[prop(optional)]
    hesitates: bool,
    #[prop(optional, into)] is_busy: Signal<bool>,
    on_yes: Callback<()>,
    on_no: Callback<()>,
) -> impl IntoView {
    let t = words();
    let (deed, cancel) = (NodeRef::<html::Button>::new(), NodeRef::<html::Button>::new());
    let focused = if hesitates { cancel } else { deed };
    Effect::new(move || {
        if let Some(button) = focused.get() {
            let _ = button.focus();
        }
    });
    let class = if is_danger { "button danger" } else { "button" };
    view! {
        <div class="notice question" role="alert">
            <p>{text}</p>
            <div class="actions">
                <button
                    type="button"
                    class=class
                    node_ref=deed
                    disabled=move || is_busy.get()
                    on:click=move |_| on_yes.run(())
                >
                    {yes}
                </button>
                <button type="button" class="button" node_ref=cancel on:click=move |_| on_no.run(())>
                    {t.cancel}
                </button>
            </div>
        </div>
    }
}

/// A dialog. Escape closes it, and the focus goes back to where it was.
#[component]
pub(crate) fn Frame(#[prop(into)] title: Signal<&'static str>, children: Children) -> impl IntoView {
    let t = words();
    let state = state();
    let node = NodeRef::<html::Dialog>::new();
    let before = document().active_element().and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok());
    let before = StoredValue::new_local(before);
    Effect::new(move || {
        if let Some(node) = node.get() {
            // A dialog that was just drawn is in the document.
            request_animation_frame(move || {
                if node.is_connected() && !node.open() {
                    let _ = node.show_modal();
                }
            });
        }
    });
    on_cleanup(move || {
        let Some(before) = before.try_get_value().flatten() else { return };
        request_animation_frame(move || {
            let is_free = document().active_element().is_none_or(|now| now.tag_name() == "BODY");
            if is_free && before.is_connected() {
                let _ = before.focus();
            }
        });
    });
    let close = move |_| {
        if let Some(node) = node.get_untracked() {
            node.close();
        }
    };
    view! {
        <dialog class="dialog" aria-labelledby="dialog-title" node_ref=node on:close=move |_| state.dialog.set(None)>
            <header class="dialog-bar">
                <h2 id="dialog-title">{title}</h2>
                <button type="button" class="button quiet icon" aria-label=t.close title=t.close on:click=close>
                    <Icon sign=Sign::Close />
                </button>
            </header>
            <div class="dialog-body">{children()}</div>
        </dialog>
    }
}

/// A form's field with its name, hint and fault.
#[component]
pub(crate) fn Field(
    id: &'static str,
    name: &'static str,
    value: RwSignal<String>,
    #[prop(optional)] hint: &'static str,
    /// What is wrong with it.
    #[prop(into)]
    fault: Signal<Option<String>>,
    #[prop(optional)] is_prose: bool,
) -> impl IntoView {
    let (hint_id, fault_id) = (format!("{id}-hint"), format!("{id}-error"));
    view! {
        <div class="field">
            <label for=id>{name}</label>
            <input
                id=id
                type="text"
                autocomplete="off"
                autocapitalize=if is_prose { "sentences" } else { "none" }
                spellcheck="false"
                aria-describedby=format!("{hint_id} {fault_id}")
                aria-invalid=move || fault.get().is_some().to_string()
                prop:value=value
                on:input=move |event| value.set(event_target_value(&event))
            />
            <p class="hint" id=hint_id>{hint}</p>
            <div id=fault_id>{move || fault.get().map(|text| view! { <p class="error" role="alert">{text}</p> })}</div>
        </div>
    }
}

#[component]
fn NewMessage() -> impl IntoView {
    let t = words();
    let state = state();
    let typed = RwSignal::new(String::new());
    let fault = RwSignal::new(None::<String>);
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let handle = match parse_handle(&typed.get_untracked()) {
            Ok(handle) => handle,
            Err(why) => {
                fault.set(Some((t.handle_bad)(why).to_owned()));
                return focus_field("to");
            }
        };
        spawn_local(async move {
            let to = Target::Person(handle.clone());
            match state.ask::<Option<ConversationId>>(Request::Open { to }).await {
                Ok(found) => {
                    state.dialog.set(None);
                    state.go_to_person(handle, found);
                }
                Err(why) => fault.set(Some(t.fault(&why))),
            }
        });
    };
    view! {
        <Frame title=t.new_message>
            <form on:submit=submit novalidate>
                <Field id="to" name=t.handle value=typed hint=t.new_message_lead fault />
                <div class="actions">
                    <button type="submit" class="button primary">{t.start}</button>
                </div>
            </form>
        </Frame>
    }
}

#[component]
fn NewGroup() -> impl IntoView {
    let t = words();
    let state = state();
    let (name, members) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let (name_fault, members_fault) = (RwSignal::new(None::<String>), RwSignal::new(None::<String>));
    let is_busy = RwSignal::new(false);
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        name_fault.set(None);
        members_fault.set(None);
        let called = name.get_untracked().trim().to_owned();
        if called.is_empty() || called.len() > GROUP_NAME_BYTES_MAX {
            name_fault.set(Some((t.group_name_bad).to_owned()));
            return focus_field("group-name");
        }
        let handles = match parse_handles(&members.get_untracked()) {
            Ok(handles) => handles,
            Err(why) => {
                members_fault.set(Some((t.handle_bad)(why).to_owned()));
                return focus_field("group-members");
            }
        };
        is_busy.set(true);
        spawn_local(async move {
            let command = Command::CreateGroup { name: Text(called), members: handles };
            match state.run(command).await {
                Ok(Outcome::Conversation(id)) => {
                    state.dialog.set(None);
                    state.awaited.set(None);
                    state.go(&Route::Conversation(id));
                }
                Ok(_) => state.dialog.set(None),
                Err(why) => members_fault.set(Some(t.fault(&why))),
            }
            is_busy.set(false);
        });
    };
    view! {
        <Frame title=t.new_group>
            <form on:submit=submit novalidate>
                <Field id="group-name" name=t.group_name value=name fault=name_fault is_prose=true />
                <Field id="group-members" name=t.group_members value=members hint=t.group_members_hint fault=members_fault />
                <div class="actions">
                    <button type="submit" class="button primary" disabled=move || is_busy.get()>
                        {move || if is_busy.get() { t.working } else { t.create_group }}
                    </button>
                </div>
            </form>
        </Frame>
    }
}

/// Handles with spaces or commas between them.
pub(crate) fn parse_handles(typed: &str) -> Result<Vec<Handle>, stonechat_wire::HandleError> {
    let parts = typed.split(|c: char| c.is_whitespace() || c == ',').filter(|part| !part.is_empty());
    let handles = parts.map(parse_handle).collect::<Result<Vec<_>, _>>()?;
    if handles.is_empty() { Err(stonechat_wire::HandleError::Empty) } else { Ok(handles) }
}
