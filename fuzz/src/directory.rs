//! What client, witness and auditor read of a directory that may be hostile.

use stonechat_directory::audit::verify_append_only;
use stonechat_directory::{AuditError, Checkpoint, DirectoryPolicy, Evidence, SignedNote, VerifierKey};
use stonechat_wire::DirectoryRecord;

use crate::seeds::{append_only_epoch, policy};

/// Signed notes, the checkpoints in them, and who must have signed: each has one encoding.
pub fn note(bytes: &[u8]) -> bool {
    let note = SignedNote::parse(bytes);
    if let Ok(note) = &note {
        assert_eq!(note.to_string().as_bytes(), bytes, "a note has one encoding");
        if let Ok(checkpoint) = Checkpoint::parse(note.text()) {
            assert!(note.text().starts_with(&checkpoint.to_text()));
        }
        if let Ok((checkpoint, signature)) = policy().signed_by_log(note) {
            // Nobody has the key but us: whatever stands around it, the signed text is the one of the seed.
            assert_eq!(note.verify_log(policy().log()), Ok(signature));
            assert!([5, 13].contains(&checkpoint.size), "a note that nobody signed was taken for signed");
        }
        assert!(policy().cosigners(note).count() <= policy().witnesses().len());
    }
    let key = std::str::from_utf8(bytes).ok().and_then(|text| Some((text, text.parse::<VerifierKey>().ok()?)));
    if let Some((text, key)) = &key {
        assert_eq!(key.to_string(), *text, "a verifier key has one encoding");
    }
    let policy = DirectoryPolicy::from_json(bytes);
    if let Ok(policy) = &policy {
        assert_eq!(DirectoryPolicy::from_json(policy.to_json().as_bytes()).as_ref(), Ok(policy));
    }
    note.is_ok() || key.is_some() || policy.is_ok()
}

/// Files of evidence, which strangers send to each other: reading and judging.
pub fn evidence(bytes: &[u8]) -> bool {
    Evidence::from_json(bytes).is_ok_and(|evidence| {
        let verdict = evidence.judge();
        let _ = evidence.sizes();
        // Written again it has white space, and may pass the bound of a file.
        if bytes.len() < 1 << 20 {
            let again = Evidence::from_json(evidence.to_json().as_bytes());
            assert_eq!(again.as_ref(), Ok(&evidence));
            assert_eq!(again.and_then(|again| again.judge()), verdict);
        }
        true
    })
}

/// The proof that an epoch took nothing back. It holds for one epoch and one root before it.
pub fn append_only(bytes: &[u8]) -> bool {
    let (before, record, _) = append_only_epoch();
    let later = DirectoryRecord { epoch: record.epoch + 1, ..*record };
    assert!(verify_append_only(bytes, before, &later).is_err(), "a proof holds for another epoch");
    assert!(verify_append_only(bytes, &record.root, record).is_err(), "a proof holds for another root");
    !matches!(verify_append_only(bytes, before, record), Err(AuditError::NoProof { .. }))
}
