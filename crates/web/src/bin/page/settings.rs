//! Settings, and signing out.

use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_web::protocol::{Request, Settings as Chosen, Start, Theme};

use crate::devices::Devices;
use crate::dialogs::Frame;
use crate::picture::Picture;
use crate::state::{Dialog, State, state, words};
use crate::text::LANGUAGES;

/// The settings.
#[component]
pub(crate) fn Settings() -> impl IntoView {
    let t = words();
    let state = state();
    let chosen = state.settings;
    let account = state.start.with_untracked(|start| match start {
        Start::Account { me, .. } => Some(me.clone()),
        _ => None,
    });
    spawn_local(async move {
        state.read_storage().await;
    });
    let languages: Vec<_> = std::iter::once((None, t.as_system))
        .chain(LANGUAGES.into_iter().map(|one| (Some(one.tag.to_owned()), one.own_name)))
        .collect();
    let themes = vec![(Theme::System, t.as_system), (Theme::Light, t.light), (Theme::Dark, t.dark)];
    let language = Signal::derive(move || chosen.with(|chosen| chosen.language.clone()));
    let theme = Signal::derive(move || chosen.with(|chosen| chosen.theme));
    view! {
        <Frame title=t.settings>
            {account
                .map(|me| {
                    view! {
                        <div class="about">
                            <Picture id=me.account.to_string() large=true />
                            <p class="about-title">{me.handle.to_string()}</p>
                        </div>
                        <Choice
                            name="language"
                            title=t.language
                            options=languages
                            chosen=language
                            choose=Callback::new(move |language| save(state, |chosen| chosen.language = language))
                        />
                        <Choice
                            name="theme"
                            title=t.theme
                            options=themes
                            chosen=theme
                            choose=Callback::new(move |theme| save(state, |chosen| chosen.theme = theme))
                        />
                        <Devices />
                        <StorageFacts />
                        <h3 class="section-title">{t.this_account}</h3>
                        <dl class="facts">
                            <dt>{t.account_id}</dt>
                            <dd class="id" translate="no">{me.account.to_string()}</dd>
                            <dt>{t.device}</dt>
                            <dd class="id" translate="no">{me.device.to_string()}</dd>
                            <dt>{t.server}</dt>
                            <dd translate="no">{me.server}</dd>
                        </dl>
                    }
                })}
            <div class="actions">
                <button type="button" class="button danger" on:click=move |_| state.dialog.set(Some(Dialog::SignOut))>
                    {t.sign_out}
                </button>
            </div>
        </Frame>
    }
}

/// One of several.
#[component]
fn Choice<T: Clone + PartialEq + Send + Sync + 'static>(
    name: &'static str,
    title: &'static str,
    options: Vec<(T, &'static str)>,
    chosen: Signal<T>,
    choose: Callback<T>,
) -> impl IntoView {
    let options = options.into_iter().map(|(value, label)| {
        let this = value.clone();
        view! {
            <label>
                <input
                    type="radio"
                    name=name
                    autocomplete="off"
                    prop:checked=move || chosen.get() == this
                    on:change=move |_| choose.run(value.clone())
                />
                <span>{label}</span>
            </label>
        }
    });
    view! {
        <fieldset class="segmented">
            <legend>{title}</legend>
            {options.collect_view()}
        </fieldset>
    }
}

#[component]
fn StorageFacts() -> impl IntoView {
    let t = words();
    let state = state();
    let was_refused = RwSignal::new(false);
    let ask = move |_| {
        spawn_local(async move {
            was_refused.set(!state.persist().await);
        });
    };
    view! {
        <h3 class="section-title">{t.storage}</h3>
        {move || {
            state
                .storage
                .get()
                .map(|storage| {
                    let used = storage.used_bytes.map(|used| (t.storage_used)(used, storage.quota_bytes));
                    let text = if storage.persisted { t.storage_kept } else { t.storage_may_go };
                    let may_ask = !storage.persisted;
                    view! {
                        <p>{text}</p>
                        <p class="hint">{used}</p>
                        {may_ask
                            .then(|| {
                                view! {
                                    <button type="button" class="button" on:click=ask>
                                        {t.storage_ask}
                                    </button>
                                }
                            })}
                    }
                })
        }}
        <div role="status">{move || was_refused.get().then(|| view! { <p class="hint">{t.storage_refused}</p> })}</div>
    }
}

/// What is lost, and then the deed.
#[component]
pub(crate) fn SignOut() -> impl IntoView {
    let t = words();
    let state = state();
    let is_busy = RwSignal::new(false);
    let fault = RwSignal::new(None::<String>);
    let sign_out = move |_| {
        is_busy.set(true);
        spawn_local(async move {
            if let Err(why) = state.ask::<()>(Request::SignOut).await {
                fault.set(Some(t.fault(&why)));
            }
            is_busy.set(false);
        });
    };
    view! {
        <Frame title=t.sign_out>
            <p>{t.sign_out_lead}</p>
            <ul class="lost">{t.sign_out_lost.iter().map(|lost| view! { <li>{*lost}</li> }).collect_view()}</ul>
            {move || fault.get().map(|text| view! { <p class="error" role="alert">{text}</p> })}
            <div class="actions">
                <button type="button" class="button" on:click=move |_| state.dialog.set(Some(Dialog::Settings))>
                    {t.cancel}
                </button>
                <button type="button" class="button danger" disabled=move || is_busy.get() on:click=sign_out>
                    {move || if is_busy.get() { t.working } else { t.sign_out_now }}
                </button>
            </div>
        </Frame>
    }
}

/// At once here, and for all tabs when it is saved.
fn save(state: State, change: impl FnOnce(&mut Chosen)) {
    let mut settings = state.settings.get_untracked();
    change(&mut settings);
    state.settings.set(settings.clone());
    state.tell(Request::SaveSettings { settings });
}
