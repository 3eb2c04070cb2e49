//! No room on the disk that holds somebody's vault.

use crate::support::{Home, Server, SmallDisk, eventually};

#[test]
fn a_full_disk_under_the_vault_is_named_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::new(8 * 1024) else { return };
    let server = Server::start();
    let alice = Home::on(disk);
    alice.ok(&["signup", "@alice", "--server", &server.url()]);
    let bob = server.home("@bob");
    alice.ok(&["send", "@bob", "before"]);
    eventually("the request arrives", || !bob.ok(&["requests"]).is_empty());
    bob.ok(&["accept", "@alice"]);
    eventually("Bob is in", || bob.texts("@alice") == ["before"]);

    alice.disk().fill();
    bob.ok(&["send", "@alice", "meanwhile"]);
    for args in [&["send", "@bob", "refused"][..], &["group", "create", "team", "@bob"]] {
        let (exit, code, message) = alice.fails(args);
        assert_eq!((exit, code.as_str()), (6, "disk_full"), "{args:?}: {message}");
        assert!(message.contains("free some space") && message.contains("is lost"), "{message}");
    }
    // What cannot be saved is not taken from the server either.
    assert!(alice.fails(&["sync"]).2.contains("free some space"));

    assert_eq!(alice.texts("@bob"), ["before"], "what is there can be read");

    alice.disk().free();
    alice.ok(&["sync"]);
    eventually("what came meanwhile is there, once", || alice.texts("@bob") == ["before", "meanwhile"]);
    alice.ok(&["send", "@bob", "after"]);
    eventually("Bob reads on, and nothing that was refused", || {
        bob.texts("@alice") == ["before", "meanwhile", "after"]
    });
}

#[test]
fn nobody_is_signed_up_on_a_full_disk_and_nothing_is_left_of_it() {
    let Some(disk) = SmallDisk::new(1024) else { return };
    let server = Server::start();
    let alice = Home::on(disk);
    alice.disk().fill();
    let (exit, code, message) = alice.fails(&["signup", "@alice", "--server", &server.url()]);
    assert_eq!(exit, 6, "{code}: {message}");
    assert!(message.contains("space"), "{code}: {message}");
    alice.disk().free();
    alice.ok(&["signup", "@alice", "--server", &server.url()]);
}
