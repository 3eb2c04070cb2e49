//! How things are: the connection, the tabs, the browser's storage, and what was refused.

use leptos::prelude::*;
use stonechat_web::protocol::{Connection, TabRole};

use crate::picture::{Icon, Sign};
use crate::state::{Dialog, state, words};

/// The lines above the list that say what is not as usual.
#[component]
pub(crate) fn Banners() -> impl IntoView {
    let t = words();
    let state = state();
    let is_hidden = RwSignal::new(false);
    let connection = move || match state.connection.get() {
        Connection::Ready => None,
        Connection::Opening => Some(("banner", t.connecting, None)),
        Connection::Offline { lasting: None } => Some(("banner offline", t.offline, None)),
        Connection::Offline { lasting: Some(why) } => {
            Some(("banner offline", t.offline_lasting, Some((t.codes.lasting)(why).to_owned())))
        }
        Connection::Stopped { why } => Some(("banner warning", t.stopped, why.map(|why| t.fault(&why)))),
    };
    let may_go =
        move || !is_hidden.get() && state.storage.with(|storage| storage.as_ref().is_some_and(|one| !one.persisted));
    view! {
        <div role="status">
            {move || {
                connection()
                    .map(|(class, text, why)| {
                        view! {
                            <p class=class>
                                <span>{text}</span>
                                {why.map(|why| view! { " " <span>{why}</span> })}
                            </p>
                        }
                    })
            }}
            {move || (state.tab.get() == Some(TabRole::Follows)).then(|| view! { <p class="banner">{t.follows}</p> })}
        </div>
        <Refused />
        {move || {
            may_go()
                .then(|| {
                    view! {
                        <div class="banner storage">
                            <button
                                type="button"
                                class="button link"
                                on:click=move |_| state.dialog.set(Some(Dialog::Settings))
                            >
                                {t.storage_banner}
                            </button>
                            <button
                                type="button"
                                class="button quiet icon"
                                aria-label=t.dismiss
                                title=t.dismiss
                                on:click=move |_| is_hidden.set(true)
                            >
                                <Icon sign=Sign::Close />
                            </button>
                        </div>
                    }
                })
        }}
    }
}

/// What was refused and belongs to no conversation.
#[component]
fn Refused() -> impl IntoView {
    let t = words();
    let state = state();
    move || {
        let all = state.refused.get();
        let texts: Vec<_> =
            all.into_iter().filter_map(|(place, what)| place.is_none().then(|| (t.codes.refusal)(&what))).collect();
        (!texts.is_empty()).then(|| {
            view! {
                <div class="banner warning" role="alert">
                    <p>{t.refused}</p>
                    {texts.into_iter().map(|text| view! { <p>{text}</p> }).collect_view()}
                    <button
                        type="button"
                        class="button quiet"
                        on:click=move |_| state.refused.update(|all| all.retain(|(place, _)| place.is_some()))
                    >
                        {t.dismiss}
                    </button>
                </div>
            }
        })
    }
}
