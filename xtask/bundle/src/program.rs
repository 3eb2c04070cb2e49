//! From the wasm that rustc writes to a module that a browser loads: `wasm-bindgen`.
//!
//! Not `wasm-opt`: it takes 0.3 % off what is downloaded, and the one that Debian 12 has (108) confuses the module's two tables, so
//! that the page does not start.

use std::path::Path;

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

use crate::files::{Named, OFFLINE};

/// A program and the script that belongs to it.
pub(crate) struct Program {
    pub(crate) wasm: Vec<u8>,
    pub(crate) script: Script,
}

/// What `wasm-bindgen` made: a module that starts nothing by itself.
pub(crate) struct Script(String);

impl Program {
    /// Reads `path`, which rustc wrote.
    pub(crate) fn bind(name: &str, path: &Path, small: bool) -> Result<Self> {
        let mut bindgen = Bindgen::new();
        bindgen.input_path(path).web(true)?.typescript(false).omit_default_module_path(true);
        bindgen.remove_name_section(small).remove_producers_section(small);
        let mut output = bindgen.generate_output().with_context(|| format!("wasm-bindgen cannot read {name}.wasm"))?;
        if !output.snippets().values().all(Vec::is_empty) || !output.local_modules().is_empty() {
            // A dependency with JavaScript of its own: its files would have to be named and hashed as well.
            bail!("{name}.wasm brings JavaScript of its own along, which this build does not pack");
        }
        let script = Script(output.js().to_owned());
        Ok(Self { wasm: output.wasm_mut().emit_wasm(), script })
    }
}

impl Script {
    /// The module, and the lines that start it. They name the program by its content, and the browser refuses another one.
    pub(crate) fn starting(&self, wasm: &Named) -> String {
        let Named { path, integrity } = wasm;
        // An error that nobody catches reaches the page that started a worker; the page itself shows what its style sheet
        // has for `data-start="failed"`.
        format!(
            "{}\n__wbg_init({{ module_or_path: fetch(\"{path}\", {{ integrity: \"{integrity}\" }}) }}).catch((error) => {{\n  \
             if (globalThis.document) document.documentElement.dataset.start = \"failed\";\n  \
             setTimeout(() => {{ throw error; }});\n}});\n",
            self.0
        )
    }

    /// The same for the page, which also has its files kept for when there is no server. Where a browser does not, in a private
    /// window for one, the app needs its server to start.
    pub(crate) fn starting_page(&self, wasm: &Named) -> String {
        format!(
            "{}if (navigator.serviceWorker) {{\n  \
             const address = globalThis.trustedTypes?.createPolicy(\"stonechat-offline\", {{ createScriptURL: () => \"/{OFFLINE}\" }});\n  \
             navigator.serviceWorker.register(address ? address.createScriptURL(\"\") : \"/{OFFLINE}\").catch(() => {{}});\n}}\n",
            self.starting(wasm)
        )
    }
}
