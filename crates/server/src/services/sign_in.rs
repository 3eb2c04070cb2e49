//! Logging a connection in as a device: a signature over this server's name and this connection's nonce.

use ed25519_dalek::{Signature, VerifyingKey};
use stonechat_wire::{AccountId, AuthChallenge, DeviceId, ErrorCode, Failure, Lane, Reply, Timestamp};

use super::{Principal, Services, Session, keys, refuse};
use crate::store::KeyedLog;

impl<S: KeyedLog> Services<S> {
    /// [`stonechat_wire::Request::Authenticate`]. One refusal whatever the cause; only a device of a suspended account is
    /// told why.
    pub(crate) async fn authenticate(
        &self,
        session: &mut Session,
        now: Timestamp,
        account: AccountId,
        device: DeviceId,
        signature: &[u8; 64],
    ) -> Result<Reply, Failure> {
        let known = self.account(&account, now).await?.ok_or(refuse(ErrorCode::NotAuthenticated))?;
        let keys = known.state.device(&device).ok_or(refuse(ErrorCode::NotAuthenticated))?;
        let challenge = AuthChallenge { host: session.host(), nonce: session.nonce(), account, device };
        VerifyingKey::from_bytes(&keys.signature)
            .and_then(|key| key.verify_strict(&challenge.signed_bytes(), &Signature::from_bytes(signature)))
            .map_err(|_| refuse(ErrorCode::NotAuthenticated))?;
        self.not_suspended(&account, now).await?;
        let pool = self.count(&keys::key_packages(&account, &device), now).await?;
        let last_resort = self.last(&keys::last_resort(&account, &device), now).await?.is_some();
        let tokens = self.tokens_left(&account, now).await?;
        // Watched before they are counted: whatever arrives from here on is pushed.
        session.become_device(Principal { account, device }, &self.store);
        let mut envelopes = 0;
        for lane in [Lane::Contacts, Lane::Strangers] {
            envelopes += self.count(&keys::inbox(&account, &device, lane), now).await?;
        }
        Ok(Reply::Authenticated { key_packages: pool as u32, last_resort, tokens, envelopes: envelopes as u32 })
    }
}

#[cfg(test)]
mod tests {
    use stonechat_wire::Request;

    use super::*;
    use crate::services::ConnectionKind;
    use crate::services::testing::{person, world};

    #[test]
    fn only_the_devices_own_signature_over_this_host_and_nonce_logs_in() {
        let world = world();
        let (alice, bob) = (person("alice"), person("bob"));
        world.device(&alice);
        let mut session = world.session();
        let nonce = world.nonce(&session);
        for wrong in
            [alice.login(&nonce, "evil.test"), alice.login(&[0; 32], "chat.test"), bob.login(&nonce, "chat.test")]
        {
            assert_eq!(world.refused(&mut session, wrong), ErrorCode::NotAuthenticated);
        }
        let mallory = crate::services::testing::Person { secret: bob.secret, ..person("alice") };
        let forged = crate::services::testing::Person { account: alice.account, device: alice.device, ..mallory };
        assert_eq!(world.refused(&mut session, forged.login(&nonce, "chat.test")), ErrorCode::NotAuthenticated);
        let reply = world.ask(&mut session, alice.login(&nonce, "chat.test"));
        assert_eq!(reply, Ok(Reply::Authenticated { key_packages: 0, last_resort: false, tokens: 100, envelopes: 0 }));
        assert_eq!(world.refused(&mut session, alice.login(&nonce, "chat.test")), ErrorCode::WrongConnection);
    }

    #[test]
    fn a_connection_is_a_devices_or_anonymous_never_both() {
        let world = world();
        let alice = person("alice");
        let mut device = world.device(&alice);
        let get = || Request::GetAccount { account: alice.account };
        assert_eq!(world.refused(&mut device, get()), ErrorCode::WrongConnection);
        let mut anonymous = world.session();
        assert_eq!(anonymous.kind(), ConnectionKind::Open);
        world.publish();
        world.ask(&mut anonymous, get()).unwrap();
        let login = alice.login(&world.nonce(&anonymous), "chat.test");
        assert_eq!(world.refused(&mut anonymous, login), ErrorCode::WrongConnection);
        let mut newcomer = world.session();
        world.ask(&mut newcomer, Request::CreateAccount { genesis: alice.genesis.clone(), invite: None }).unwrap();
        assert_eq!(world.refused(&mut newcomer, get()), ErrorCode::WrongConnection);
        assert_eq!(
            world.refused(
                &mut world.session(),
                Request::AckInbox { lane: Lane::Contacts, upto: stonechat_wire::Seq(1) }
            ),
            ErrorCode::WrongConnection
        );
    }
}
