//! The camera, for as long as a code is looked for. Its pictures are looked at here and go nowhere.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gloo_timers::future::TimeoutFuture;
use js_sys::{Object, Reflect};
use leptos::html::Video;
use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_web::view::safety;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    CanvasRenderingContext2d, DomException, HtmlCanvasElement, HtmlVideoElement, MediaStream, MediaStreamConstraints,
    MediaStreamTrack,
};

use crate::state::words;

/// Shows what the camera sees, and says when it sees a safety number's code. It is on only while this is shown.
#[component]
pub(crate) fn Camera(
    /// Takes the text of the code, once.
    seen: Callback<String>,
) -> impl IntoView {
    let t = words().trust;
    let video = NodeRef::<Video>::new();
    let says = RwSignal::new(Says::Waits);
    let eye = StoredValue::new_local(Rc::new(Eye::default()));
    Effect::new(move || {
        let (Some(video), Some(eye)) = (video.get(), eye.try_get_value()) else { return };
        spawn_local(async move {
            match look(&eye, &video, says).await {
                Ok(Some(text)) => {
                    eye.close();
                    seen.run(text);
                }
                // Nobody looks any more.
                Ok(None) => {}
                Err(why) => {
                    eye.close();
                    let _ = says.try_set(why);
                }
            }
        });
    });
    on_cleanup(move || {
        if let Some(eye) = eye.try_get_value() {
            eye.close();
        }
    });
    view! {
        <div class="camera">
            <video
                node_ref=video
                playsinline
                prop:muted=true
                aria-label=t.scan_lead
                class:off=move || says.get() != Says::Looks
            ></video>
            {move || match says.get() {
                Says::Waits => view! { <p class="hint" role="status">{t.camera_waits}</p> }.into_any(),
                Says::Looks => view! { <p class="hint" role="status">{t.scan_lead}</p> }.into_any(),
                Says::None => view! { <p class="error" role="alert">{t.camera_none}</p> }.into_any(),
                Says::Refused => view! { <p class="error" role="alert">{t.camera_refused}</p> }.into_any(),
                Says::Fails => view! { <p class="error" role="alert">{t.camera_fails}</p> }.into_any(),
            }}
        </div>
    }
}

/// How it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Waits,
    Looks,
    /// There is none.
    None,
    /// The person or the browser does not allow it.
    Refused,
    Fails,
}

/// What must be let go of.
#[derive(Default)]
struct Eye {
    stream: RefCell<Option<MediaStream>>,
    is_closed: Cell<bool>,
}

impl Eye {
    /// Takes a stream, or stops it at once when nobody waits for it any more.
    fn open(&self, stream: MediaStream) {
        *self.stream.borrow_mut() = Some(stream);
        if self.is_closed.get() {
            self.close();
        }
    }

    /// The camera goes off, and its light with it.
    fn close(&self) {
        self.is_closed.set(true);
        if let Some(stream) = self.stream.borrow_mut().take() {
            for track in stream.get_tracks().iter() {
                track.unchecked_into::<MediaStreamTrack>().stop();
            }
        }
    }
}

/// Looks until there is a code, or until nobody waits for it.
async fn look(eye: &Eye, video: &HtmlVideoElement, says: RwSignal<Says>) -> Result<Option<String>, Says> {
    let stream = stream().await.map_err(|error| trouble(&error))?;
    video.set_src_object(Some(&stream));
    eye.open(stream);
    if eye.is_closed.get() {
        return Ok(None);
    }
    let playing = video.play().map_err(|_| Says::Fails)?;
    let canvas = Canvas::new().map_err(|_| Says::Fails)?;
    // It is refused when the dialog closes meanwhile.
    if JsFuture::from(playing).await.is_err() && !eye.is_closed.get() {
        return Err(Says::Fails);
    }
    let _ = says.try_set(Says::Looks);
    while !eye.is_closed.get() {
        // A picture that cannot be read is followed by another.
        let text = canvas.picture(video).ok().and_then(|(pixels, width, height)| safety::seen(&pixels, width, height));
        // Other codes in view are not meant.
        if let Some(text) = text.filter(|text| text.starts_with(CODE_PREFIX)) {
            return Ok(Some(text));
        }
        TimeoutFuture::new(LOOKED_EVERY_MS).await;
    }
    Ok(None)
}

async fn stream() -> Result<MediaStream, JsValue> {
    let devices = window().navigator().media_devices()?;
    let wanted = Object::new();
    // A phone's camera that looks away from its owner.
    Reflect::set(&wanted, &"facingMode".into(), &"environment".into())?;
    let constraints = MediaStreamConstraints::new();
    constraints.set_video(&wanted);
    constraints.set_audio(&JsValue::FALSE);
    Ok(JsFuture::from(devices.get_user_media_with_constraints(&constraints)?).await?.unchecked_into())
}

/// What the browser says of a camera that it does not give.
fn trouble(error: &JsValue) -> Says {
    match error.dyn_ref::<DomException>().map(DomException::name).as_deref() {
        Some("NotAllowedError" | "SecurityError") => Says::Refused,
        Some("NotReadableError" | "AbortError") => Says::Fails,
        // `NotFoundError`; or the page was not loaded over TLS, and there is nothing to ask.
        _ => Says::None,
    }
}

/// Where pictures become pixels.
struct Canvas {
    canvas: HtmlCanvasElement,
    context: CanvasRenderingContext2d,
}

impl Canvas {
    fn new() -> Result<Self, JsValue> {
        let canvas: HtmlCanvasElement = document().create_element("canvas")?.unchecked_into();
        let options = Object::new();
        Reflect::set(&options, &"willReadFrequently".into(), &JsValue::TRUE)?;
        let context = canvas.get_context_with_context_options("2d", &options)?.ok_or(JsValue::NULL)?;
        Ok(Self { canvas, context: context.unchecked_into() })
    }

    /// The picture of now, not larger than reading it needs.
    fn picture(&self, video: &HtmlVideoElement) -> Result<(Vec<u8>, usize, usize), JsValue> {
        let (width, height) = (video.video_width(), video.video_height());
        let most = width.max(height).max(1);
        let fit = |length: u32| if most > PICTURE_PX_MAX { length * PICTURE_PX_MAX / most } else { length };
        let (width, height) = (fit(width).max(1), fit(height).max(1));
        if self.canvas.width() != width || self.canvas.height() != height {
            self.canvas.set_width(width);
            self.canvas.set_height(height);
        }
        let [wide, high] = [width, height].map(f64::from);
        self.context.draw_image_with_html_video_element_and_dw_and_dh(video, 0.0, 0.0, wide, high)?;
        let pixels = self.context.get_image_data(0.0, 0.0, wide, high)?.data();
        Ok((pixels.0, width as usize, height as usize))
    }
}

/// What a safety number's code begins with, whatever its version.
const CODE_PREFIX: &str = "STONECHAT:";
const LOOKED_EVERY_MS: u32 = 150;
/// A code that fills a third of the picture has five pixels and more for each square.
const PICTURE_PX_MAX: u32 = 800;
