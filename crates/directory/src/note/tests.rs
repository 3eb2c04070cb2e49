use super::*;

/// Published with the first implementation of signed notes, Go's `golang.org/x/mod/sumdb/note`.
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETERS_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
then you don't know what your problem is.\n\n\
— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn verifier(name: &str, kind: KeyKind, n: u8) -> VerifierKey {
    VerifierKey::new(name, kind, key(n).verifying_key().to_bytes()).unwrap()
}

fn signed() -> SignedNote {
    let root = TreeHash([7; 32]);
    let text = Checkpoint { origin: "log.test".to_owned(), size: 3, root }.to_text();
    SignedNote::sign(text, "log.test", &key(1))
}

#[test]
fn the_published_note_verifies_under_the_published_key() {
    let peter: VerifierKey = PETER.parse().unwrap();
    assert_eq!(peter.to_string(), PETER);
    let note = SignedNote::parse(PETERS_NOTE.as_bytes()).unwrap();
    assert!(note.verify_log(&peter).is_ok());
    assert_eq!(note.to_string(), PETERS_NOTE);
    let other = SignedNote::parse(PETERS_NOTE.replace("answer", "question").as_bytes()).unwrap();
    assert_eq!(other.verify_log(&peter), Err(NoteError::Signature));
}

#[test]
fn a_mistyped_verifier_key_is_refused() {
    for wrong in [
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumenn+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PeterNeumann+c74f20a3",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "",
    ] {
        assert_eq!(wrong.parse::<VerifierKey>(), Err(NoteError::Key), "{wrong}");
    }
}

#[test]
fn a_cosignature_counts_for_its_key_text_and_time_only() {
    let (note, witness) = (signed(), verifier("w.test", KeyKind::Witness, 2));
    let mut cosigned = note.clone();
    cosigned.add(note.cosign("w.test", &key(2), 1_700_000_000));
    let read = SignedNote::parse(cosigned.to_string().as_bytes()).unwrap();
    assert_eq!(read.verify_witness(&witness), Ok(1_700_000_000));
    assert!(read.verify_log(&verifier("log.test", KeyKind::Log, 1)).is_ok());
    // By another key under the same name; of another kind; at another time.
    let mut forged = note.clone();
    let mut line = note.cosign("w.test", &key(3), 1);
    line.id = witness.id();
    forged.add(line);
    assert_eq!(forged.verify_witness(&witness), Err(NoteError::Signature));
    assert_eq!(read.verify_witness(&verifier("w.test", KeyKind::Log, 2)), Err(NoteError::Signature));
    let mut moved = note.clone();
    let mut line = note.cosign("w.test", &key(2), 1);
    line.bytes[7] ^= 1;
    moved.add(line);
    assert_eq!(moved.verify_witness(&witness), Err(NoteError::Signature));
    // The later of two by one key stays.
    cosigned.add(note.cosign("w.test", &key(2), 1_700_000_009));
    assert_eq!((cosigned.verify_witness(&witness), cosigned.signatures().len()), (Ok(1_700_000_009), 2));
}

#[test]
fn what_is_not_a_note_is_refused() {
    let good = signed().to_string();
    assert!(SignedNote::parse(good.as_bytes()).is_ok());
    let long = format!("{}\n\n{}", "x".repeat(CHECKPOINT_BYTES_MAX), &good);
    for wrong in [
        "",
        "\n\n",
        "text\n",
        "text\n\nno line\n",
        "text\n\n— name\n",
        "text\n\n— name !!!!\n",
        "text\n\n— name AAAA\n",
        good.trim_end(),
        &good.replace("log.test\n", "log\ttest\n"),
        &long,
    ] {
        assert_eq!(SignedNote::parse(wrong.as_bytes()), Err(NoteError::Malformed), "{wrong:?}");
    }
    assert_eq!(SignedNote::parse(b"\xff\xff\n\n"), Err(NoteError::Malformed));
}

#[test]
fn a_checkpoint_has_one_form() {
    let text = signed().text().to_owned();
    let read = Checkpoint::parse(&text).unwrap();
    assert_eq!((read.size, read.to_text()), (3, text.clone()));
    assert!(Checkpoint::parse(&(text.clone() + "extension\n")).is_ok());
    for wrong in [
        text.replace("\n3\n", "\n03\n"),
        text.replace("\n3\n", "\n+3\n"),
        text.replace("\n3\n", "\n\n"),
        text.replace("Bwc", "B"),
        text.replace("log.test", ""),
        text.trim_end().to_owned(),
        "log.test\n3\n".to_owned(),
    ] {
        assert_eq!(Checkpoint::parse(&wrong), Err(NoteError::NotACheckpoint), "{wrong:?}");
    }
}
