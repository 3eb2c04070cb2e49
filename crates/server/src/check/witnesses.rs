//! The witnesses: whether they answer, and whether one has seen more of the directory than the data folder holds.

use stonechat_directory::DirectoryPolicy;

use super::Report;
use crate::config::Config;
use crate::directory::Standing;
use crate::secrets::{self, load_directory_keys};
use crate::store::SqliteLog;
use crate::witnesses::{self, Judgement};

const ABOUT: &str = "directory.witness_addresses";

pub(super) fn check(config: &Config, report: &mut Report) {
    // Without its key there is no directory yet, and nothing that a witness could have seen.
    if !config.data.join(secrets::DIRECTORY_KEY).exists() {
        return;
    }
    let Ok(keys) = load_directory_keys(&config.data) else { return };
    let policy = match config.settings().directory.policy(&keys) {
        Ok(policy) => policy,
        Err(error) => return report.problem("directory", format!("{error}.")),
    };
    let addresses = &config.directory.witness_addresses;
    let needed = witnesses::quorum(&policy);
    if !policy.witnesses().is_empty() && addresses.len() < needed {
        let why = format!(
            "{} addresses are given, and {needed} witnesses must answer before a backup is restored. Give one for each \
             witness.",
            addresses.len()
        );
        report.warning(ABOUT, why);
    }
    let answers = witnesses::ask(&policy, addresses);
    for answer in &answers {
        if let Err(cause) = &answer.head {
            report.warning(ABOUT, format!("a witness does not answer: {cause}."));
        }
    }
    match compare(config, &policy, &answers) {
        Some(Judgement::Behind { by, size }) => {
            let why = format!(
                "{by} has seen {size} records of this directory, more than the data folder holds. It was rolled back, and \
                 the server will not publish it. Restore a newer backup."
            );
            report.problem("directory", why);
        }
        Some(Judgement::Contradicted { by, size }) => {
            let why = format!(
                "{by} has seen another history of {size} records. The server will not publish this directory. Is this the \
                 right data folder?"
            );
            report.problem("directory", why);
        }
        Some(Judgement::UpToDate { .. }) | None => {}
    }
}

/// `None` when the store cannot be read: that is reported elsewhere.
fn compare(config: &Config, policy: &DirectoryPolicy, answers: &[witnesses::Answer]) -> Option<Judgement> {
    let store = SqliteLog::inspect(&config.data).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    runtime.block_on(async {
        let standing = Standing::read(&store, policy).await.ok()?;
        witnesses::judge(&store, standing.as_ref(), answers).await.ok()
    })
}
