//! What a directory might try, at the level of its formats: each is rejected, and the evidence shows it to others.

use stonechat_directory::evidence::LookUp;
use stonechat_directory::head::{HEARTBEAT_SECS, STALE_SECS};
use stonechat_directory::proof::{account_label, handle_label, verify_account, verify_handle};
use stonechat_directory::tlog;
use stonechat_directory::{
    Asked, Audit, AuditError, AuditStop, Evidence, EvidenceError, ForkError, Head, HeadError, PolicyError, ProofError,
    Verdict, VerifiedAccount, audit,
};
use stonechat_wire::{DirectoryRecord, TreeProof, encode};

use crate::made::{Made, NOW, Person, empty_akd, key, ready};

fn directory() -> (Made, Person) {
    let mut made = Made::new();
    let alice = Person::new("alice", 10);
    made.publish_account(&alice);
    (made, alice)
}

/// Evidence survives its file.
fn judged(evidence: &Evidence) -> Verdict {
    let read = Evidence::from_json(evidence.to_json().as_bytes()).unwrap();
    assert_eq!(&read, evidence);
    read.judge().unwrap()
}

fn is_proven(evidence: &Evidence) -> bool {
    matches!(judged(evidence), Verdict::Proven(_))
}

fn is_unanswered(evidence: &Evidence) -> bool {
    matches!(judged(evidence), Verdict::Unanswered(_))
}

#[test]
fn an_honest_answer_verifies() {
    let (made, alice) = directory();
    let (id, handle) = (alice.id(), alice.handle());
    for asked in [Asked::Account(&id), Asked::Handle(&handle)] {
        let found = VerifiedAccount::verify(&made.policy, asked, &alice.log, &made.prove(&alice)).unwrap();
        assert_eq!((found.state.id(), found.log.value, found.log.version), (id, alice.head(), 1));
    }
}

#[test]
fn a_forged_cosignature_does_not_count() {
    let (made, _) = directory();
    let mut note = made.note_at(2);
    note.add(note.cosign("w2.test", &key(2), 1));
    let forged = note.cosign("w3.test", &key(4), 1);
    note.add(forged);
    let refused = Head::verify(&made.policy, &made.signed_head(&note));
    assert_eq!(refused, Err(HeadError::Policy(PolicyError::Witnesses { have: 1, need: 2 })));
    // One witness twice is one.
    let mut twice = made.note_at(2);
    twice.add(twice.cosign("w2.test", &key(2), 1));
    twice.add(twice.cosign("w2.test", &key(2), 2));
    assert!(Head::verify(&made.policy, &made.signed_head(&twice)).is_err());
}

#[test]
fn a_head_that_the_log_did_not_sign_is_refused_whoever_cosigned_it() {
    let (made, _) = directory();
    let honest = made.cosigned_at(2);
    let mut forged = stonechat_directory::SignedNote::sign(honest.text().to_owned(), crate::made::ORIGIN, &key(5));
    honest.signatures()[1..].iter().for_each(|line| forged.add(line.clone()));
    assert!(matches!(
        Head::verify(&made.policy, &made.signed_head(&forged)),
        Err(HeadError::Policy(PolicyError::Log(_)))
    ));
}

#[test]
fn a_record_that_is_not_the_last_leaf_is_refused() {
    let (mut made, alice) = directory();
    made.publish_account(&alice.add(10, 11));
    let mut head = made.head();
    // The leaf before, with its own inclusion proof: an old state under a new signature.
    head.record = made.leaves[1].clone().try_into().unwrap();
    head.inclusion = made.range_hashes(&tlog::inclusion_ranges(1, 3)).try_into().unwrap();
    assert_eq!(Head::verify(&made.policy, &head), Err(HeadError::Record));
}

#[test]
fn a_stale_head_is_known_by_its_time() {
    let (made, _) = directory();
    let head = made.verified();
    assert!(!head.is_stale(head.time().plus_secs(HEARTBEAT_SECS)));
    assert!(head.is_stale(head.time().plus_secs(STALE_SECS + 1)));
    assert!(!head.is_from_the_future(NOW) && head.is_from_the_future(stonechat_wire::Timestamp(0)));
}

#[test]
fn a_forked_directory_convicts_itself() {
    let ((mut one, alice), (mut other, _)) = (directory(), directory());
    one.publish_account(&alice.add(10, 11));
    other.publish_account(&Person::new("mallory", 66));
    let (here, there) = (one.verified(), other.verified());
    assert!(there.seen().is_signed(&one.policy));
    assert_eq!(here.verify_same_log(&there.seen(), &TreeProof::default()), Err(ForkError::Forked));
    assert!(is_proven(&Evidence::heads(&one.policy, &here.seen(), &there.seen(), &TreeProof::default())));
    // At different sizes no proof connects them, whatever is answered.
    other.publish_account(&Person::new("bob", 20));
    let there = other.verified();
    for prover in [&one, &other] {
        let proof =
            if prover.leaves.len() == 4 { prover.range_hashes(&tlog::consistency_ranges(3, 4)) } else { vec![] };
        let proof = TreeProof::new(proof).unwrap();
        assert_eq!(here.verify_same_log(&there.seen(), &proof), Err(ForkError::Unconnected));
        assert!(is_unanswered(&Evidence::heads(&one.policy, &here.seen(), &there.seen(), &proof)));
    }
    // An honest directory answers, and the file shows nothing.
    let (old, new) = (Head::verify(&other.policy, &other.signed_head(&other.cosigned_at(3))).unwrap(), there);
    let proof = TreeProof::new(other.range_hashes(&tlog::consistency_ranges(3, 4))).unwrap();
    assert_eq!(new.verify_same_log(&old.seen(), &proof), Ok(()));
    let harmless = Evidence::heads(&other.policy, &old.seen(), &new.seen(), &proof);
    assert!(matches!(judged(&harmless), Verdict::Harmless(_)));
}

#[test]
fn a_head_that_was_made_up_convicts_nobody() {
    let (made, _) = directory();
    let mut made_up = made.verified().seen();
    made_up.root.0[0] ^= 1;
    assert!(!made_up.is_signed(&made.policy));
    let evidence = Evidence::heads(&made.policy, &made.verified().seen(), &made_up, &TreeProof::default());
    assert!(matches!(evidence.judge(), Err(EvidenceError::Unsigned(_))));
}

#[test]
fn a_swapped_log_is_refused_and_the_accounts_own_log_convicts_the_directory() {
    let (mut made, alice) = directory();
    // The directory publishes a head of its own making for alice's log.
    let ghost = alice.add(10, 66);
    let own = alice.add(10, 11);
    made.publish(vec![(account_label(&alice.id()), encode(&ghost.head()))]);
    let (proof, id) = (made.prove(&alice), alice.id());
    let refused = VerifiedAccount::verify(&made.policy, Asked::Account(&id), &own.log, &proof);
    assert_eq!(refused.unwrap_err(), ProofError::OtherLog);
    let look_up = LookUp { head: &proof.head, proof: &proof.account };
    assert!(is_proven(&Evidence::account(&made.policy, &id, &look_up, &own.log)));
    let theirs = Evidence::account(&made.policy, &id, &look_up, &ghost.log);
    assert!(matches!(judged(&theirs), Verdict::Harmless(_)));
    // Somebody else's log is no evidence.
    let other = Evidence::account(&made.policy, &id, &look_up, &Person::new("bob", 20).log);
    assert!(other.judge().is_err());
}

#[test]
fn a_hidden_revocation_convicts_the_directory() {
    let (mut made, alice) = directory();
    let two = alice.add(10, 11);
    let revoked = two.revoke(10, 11);
    made.publish_account(&revoked);
    let before = made.prove(&alice);
    // Back to the log that still has the device.
    made.publish(vec![(account_label(&alice.id()), encode(&two.head()))]);
    let after = made.prove(&alice);
    let (first, second) =
        (LookUp { head: &before.head, proof: &before.account }, LookUp { head: &after.head, proof: &after.account });
    assert!(is_proven(&Evidence::account_taken_back(&made.policy, &alice.id(), &first, &second)));
    assert!(is_unanswered(&Evidence::account(&made.policy, &alice.id(), &second, &revoked.log)));
    let same = Evidence::account_taken_back(&made.policy, &alice.id(), &first, &first);
    assert!(matches!(judged(&same), Verdict::Harmless(_)));
}

#[test]
fn a_handle_that_moved_is_seen_and_shown() {
    let (mut made, alice) = directory();
    let before = made.prove(&alice);
    let mallory = Person::new("alice", 66);
    made.publish_account(&mallory);
    let after = made.prove(&mallory);
    let (handle, id) = (alice.handle(), alice.id());
    let found = VerifiedAccount::verify(&made.policy, Asked::Handle(&handle), &mallory.log, &after).unwrap();
    assert_eq!((found.handle.unwrap().version, found.state.id() == id), (2, false));
    // Alice's own log under the moved handle.
    let refused = VerifiedAccount::verify(&made.policy, Asked::Account(&id), &alice.log, &made.prove(&alice));
    assert_eq!(refused.unwrap_err(), ProofError::OtherAccount);
    let first = LookUp { head: &before.head, proof: before.handle.as_ref().unwrap() };
    let second = LookUp { head: &after.head, proof: after.handle.as_ref().unwrap() };
    assert!(is_unanswered(&Evidence::handle_moved(&made.policy, &handle, &first, &second)));
}

#[test]
fn a_proof_for_one_label_version_or_head_holds_for_no_other() {
    let (mut made, alice) = directory();
    let bob = Person::new("bob", 20);
    made.publish_account(&bob);
    let old = made.look_up(account_label(&alice.id()));
    let head = made.verified();
    assert!(verify_account(&made.policy, &head, &alice.id(), &old).is_ok());
    assert!(verify_account(&made.policy, &head, &bob.id(), &old).is_err());
    assert!(verify_handle(&made.policy, &head, &alice.handle(), &old).is_err());
    // The version before is over: its proof is against a head that is gone.
    made.publish_account(&alice.add(10, 11));
    assert!(verify_account(&made.policy, &made.verified(), &alice.id(), &old).is_err());
    let with_handle = made.look_up(handle_label(&alice.handle()));
    assert!(verify_handle(&made.policy, &made.verified(), &alice.handle(), &with_handle).is_ok());
}

#[test]
fn no_changed_byte_of_a_proof_is_accepted_or_makes_a_panic() {
    let (mut made, alice) = directory();
    for n in 0..20 {
        made.publish_account(&Person::new(&format!("p{n}"), 20 + n));
    }
    let (head, proof) = (made.verified(), made.look_up(account_label(&alice.id())));
    let honest = verify_account(&made.policy, &head, &alice.id(), &proof).unwrap();
    let (mut refused, mut same) = (0, 0);
    for at in 0..proof.len() {
        for bit in [0x01, 0x80] {
            let mut other = proof.clone();
            other[at] ^= bit;
            match verify_account(&made.policy, &head, &alice.id(), &other) {
                Err(_) => refused += 1,
                // A direction or length that is written in two ways says the same.
                Ok(found) => {
                    assert_eq!(found, honest, "byte {at}");
                    same += 1;
                }
            }
        }
    }
    assert!(same * 50 < refused, "{same} of {refused}");
    for len in 0..proof.len() {
        assert!(verify_account(&made.policy, &head, &alice.id(), &proof[..len]).is_err());
    }
    // Version 0, at which akd_core panics.
    assert_eq!(
        verify_account(&made.policy, &head, &alice.id(), &[&proof[..], &[0x18, 0x00]].concat()),
        Err(ProofError::Malformed)
    );
}

#[test]
fn an_auditor_follows_an_honest_directory_and_goes_on_where_it_stopped() {
    let (mut made, mut alice) = directory();
    let mut audit = Audit::new(made.policy.clone());
    for n in 0..300_u32 {
        if n % 7 == 0 {
            alice = if n == 0 { alice.add(10, 11) } else { alice };
            made.publish_account(&Person::new(&format!("p{n}"), (n % 100) as u8 + 20));
        } else {
            made.record(DirectoryRecord { time: made.last.time.plus_secs(HEARTBEAT_SECS), ..made.last });
        }
        if n % 50 == 0 {
            let note = made.note_at(made.leaves.len());
            audit.advance(&mut made, &note, |_, _| ()).unwrap();
            audit = Audit::from_json(audit.to_json().as_bytes()).unwrap();
        }
    }
    let note = made.cosigned_at(made.leaves.len());
    let mut seen = 0;
    let told = audit.advance(&mut made, &note, |done, _| seen = done).unwrap();
    assert_eq!((told.size, seen), (302, 302));
}

#[test]
fn an_auditor_stops_at_an_epoch_that_takes_something_back() {
    let (mut made, alice) = directory();
    let mut audit = Audit::new(made.policy.clone());
    let note = made.note_at(2);
    audit.advance(&mut made, &note, |_, _| ()).unwrap();
    // Another tree under the same log: alice's account is gone from it.
    let other = empty_akd();
    let label = akd::AkdLabel(account_label(&alice.id()));
    for n in 0..2_u8 {
        ready(other.publish(vec![(label.clone(), akd::AkdValue(vec![n]))])).unwrap();
    }
    let akd::EpochHash(epoch, root) = ready(other.get_epoch_hash()).unwrap();
    let proof = ready(other.audit(1, 2)).unwrap();
    made.proofs.push(audit::encode_append_only(&proof.proofs[0]));
    made.record(DirectoryRecord { epoch, root, time: made.last.time });
    let note = made.cosigned_at(3);
    match audit.advance(&mut made, &note, |_, _| ()) {
        Err(AuditStop::Inconsistent { what, evidence }) => {
            assert_eq!(what, AuditError::NotAppendOnly { epoch: 2 }.to_string());
            assert!(is_unanswered(&evidence));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(audit.size(), 2, "it stands where it stood");
}

#[test]
fn an_auditor_stops_at_leaves_that_do_not_follow_each_other() {
    type Change = fn(DirectoryRecord) -> DirectoryRecord;
    let wrong: [(&str, Change); 4] = [
        ("a root that changed", |last| DirectoryRecord { root: [9; 32], ..last }),
        ("an epoch that is missing", |last| DirectoryRecord { epoch: last.epoch + 2, ..last }),
        ("an epoch that goes back", |last| DirectoryRecord { epoch: 0, ..last }),
        ("a time that goes back", |last| DirectoryRecord { time: NOW, ..last }),
    ];
    for (what, change) in wrong {
        let (mut made, _) = directory();
        made.record(change(made.last));
        let note = made.cosigned_at(3);
        match Audit::new(made.policy.clone()).advance(&mut made, &note, |_, _| ()) {
            Err(AuditStop::Inconsistent { evidence, .. }) => assert!(is_proven(&evidence), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn an_auditor_notices_a_rolled_back_log_and_one_that_serves_other_records() {
    let (mut made, _) = directory();
    made.publish_account(&Person::new("bob", 20));
    let mut audit = Audit::new(made.policy.clone());
    let (old, new) = (made.note_at(2), made.note_at(3));
    audit.advance(&mut made, &new, |_, _| ()).unwrap();
    let stopped = audit.advance(&mut made, &old, |_, _| ());
    assert!(matches!(&stopped, Err(AuditStop::Behind(evidence)) if is_unanswered(evidence)), "{stopped:?}");
    // The same size with another root.
    let (mut fork, _) = directory();
    fork.publish_account(&Person::new("mallory", 66));
    let other = fork.note_at(3);
    let stopped = audit.advance(&mut fork, &other, |_, _| ());
    assert!(matches!(&stopped, Err(AuditStop::Inconsistent { evidence, .. }) if is_proven(evidence)), "{stopped:?}");
}

#[tokio::test]
async fn append_only_proofs_are_judged_as_akd_judges_them() {
    let mut made = Made::new();
    for n in 0..30_u8 {
        let updates = (0..=n % 5).map(|m| (vec![b'h', (n * m) % 17, m], vec![n, m])).collect::<Vec<_>>();
        made.publish(updates);
    }
    let records: Vec<DirectoryRecord> = made.leaves.iter().map(|leaf| stonechat_wire::decode(leaf).unwrap()).collect();
    for pair in records.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let theirs = ready(made.akd.audit(before.epoch, after.epoch)).unwrap();
        let same = akd::auditor::audit_verify::<stonechat_directory::proof::Configuration>(
            vec![before.root, after.root],
            theirs.clone(),
        );
        assert!(same.await.is_ok());
        let proof = audit::encode_append_only(&theirs.proofs[0]);
        assert_eq!(audit::verify_append_only(&proof, &before.root, &after), Ok(()));
        // A leaf less, an unchanged node less, another epoch, another root.
        let mut less = theirs.proofs[0].clone();
        less.inserted.pop();
        assert!(audit::verify_append_only(&audit::encode_append_only(&less), &before.root, &after).is_err());
        let mut less = theirs.proofs[0].clone();
        if less.unchanged_nodes.pop().is_some() {
            assert!(audit::verify_append_only(&audit::encode_append_only(&less), &before.root, &after).is_err());
        }
        let mut within = theirs.proofs[0].clone();
        within.unchanged_nodes.extend(within.inserted.clone());
        assert!(audit::verify_append_only(&audit::encode_append_only(&within), &before.root, &after).is_err());
        let later = DirectoryRecord { epoch: after.epoch + 1, ..after };
        assert!(audit::verify_append_only(&proof, &before.root, &later).is_err());
        assert!(audit::verify_append_only(&proof, &[1; 32], &after).is_err());
    }
}
