//! The devices of this account, and taking one out of it.

use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Command, OwnDevice};
use stonechat_web::protocol::Request;
use stonechat_wire::DeviceId;

use crate::clock;
use crate::dialogs::SecondQuestion;
use crate::state::{Dialog, State, state, words};

/// What a list of them shares with its rows. Copies are the same.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    pub(crate) list: RwSignal<Vec<OwnDevice>>,
    has_revoked: RwSignal<bool>,
}

impl Own {
    /// Read now, and whenever an alarm is raised or settled.
    pub(crate) fn read() -> Self {
        let state = state();
        let own = Self { list: RwSignal::default(), has_revoked: RwSignal::new(false) };
        Effect::new(move || {
            state.alarms.track();
            own.read_again(state);
        });
        own
    }

    fn read_again(self, state: State) {
        spawn_local(async move {
            // Without the list nothing can be revoked; all else is there.
            if let Ok(found) = state.ask(Request::Devices).await {
                // The dialog may be gone.
                let _ = self.list.try_set(found);
            }
        });
    }

    /// Says that it is done, when it is.
    pub(crate) fn said(self) -> impl IntoView {
        let t = words().trust;
        view! { <div role="status">{move || self.has_revoked.get().then(|| view! { <p class="hint">{t.revoked}</p> })}</div> }
    }
}

/// A part of the settings.
#[component]
pub(crate) fn Devices() -> impl IntoView {
    let t = words();
    let state = state();
    let own = Own::read();
    let alarms = move || {
        state.alarms.with(|all| !all.is_empty()).then(|| {
            view! {
                <button type="button" class="button" on:click=move |_| state.dialog.set(Some(Dialog::Alarms))>
                    {t.trust.alarms}
                </button>
            }
        })
    };
    view! {
        <h3 class="section-title">{t.trust.own_devices}</h3>
        <ul class="members" aria-label=t.trust.own_devices>
            <For
                each=move || own.list.get()
                key=|one| (one.id, one.alarm)
                children=move |device| view! { <DeviceRow device own /> }
            />
        </ul>
        {own.said()}
        {alarms}
    }
}

#[component]
fn DeviceRow(device: OwnDevice, own: Own) -> impl IntoView {
    let t = words();
    let OwnDevice { id, added_at, this: is_this, alarm } = device;
    let added = (t.trust.added_at)(&clock::moment(added_at.0, t));
    let strange = (!is_this && alarm.is_some()).then(|| view! { <p class="error">{t.trust.not_added_here}</p> });
    view! {
        <li class="member">
            <div class="member-main">
                <p class="row-title">
                    {if is_this { t.trust.this_device } else { t.device }} " "
                    <span class="id" translate="no">{short(&id)}</span>
                </p>
                <p class="row-preview">{added}</p>
                {strange}
            </div>
            {(!is_this).then(|| view! { <Revoke device=id own /> })}
        </li>
    }
}

/// A button, a second question, and the deed.
#[component]
pub(crate) fn Revoke(device: DeviceId, own: Own) -> impl IntoView {
    let t = words();
    let state = state();
    let is_asked = RwSignal::new(false);
    let is_busy = RwSignal::new(false);
    let fault = RwSignal::new(None::<String>);
    let name = format!("{}: {}", t.trust.revoke, short(&device));
    let revoke = Callback::new(move |()| {
        is_busy.set(true);
        fault.set(None);
        spawn_local(async move {
            match state.run(Command::RevokeDevice { device }).await {
                Ok(_) => {
                    let _ = own.has_revoked.try_set(true);
                    own.read_again(state);
                }
                Err(why) => {
                    let _ = fault.try_set(Some(t.fault(&why)));
                }
            }
            let _ = is_busy.try_set(false);
        });
    });
    let question = move || {
        let on_no = Callback::new(move |()| is_asked.set(false));
        let t = t.trust;
        view! {
            <SecondQuestion
                text=t.revoke_question
                yes=t.revoke_now
                is_danger=true
                hesitates=true
                is_busy
                on_yes=revoke
                on_no
            />
        }
    };
    view! {
        {move || fault.get().map(|text| view! { <p class="error" role="alert">{text}</p> })}
        <Show
            when=move || is_asked.get()
            fallback={
                let name = name.clone();
                move || {
                    let name = name.clone();
                    view! {
                        <div class="actions">
                            <button type="button" class="button danger" aria-label=name on:click=move |_| is_asked.set(true)>
                                {t.trust.revoke}
                            </button>
                        </div>
                    }
                }
            }
        >
            {question}
        </Show>
    }
}

/// Enough of an id to tell one's devices apart.
fn short(id: &DeviceId) -> String {
    id.to_string().chars().take(8).collect()
}
