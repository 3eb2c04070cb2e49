//! Key packages (RFC 9420 section 10): a pool for each device from which each is given out once, and one of last resort.

use futures_util::future::try_join_all;
use stonechat_wire::limits::{CONVERSATION_TTL_SECS, DEVICES_MAX, KEY_PACKAGE_BYTES_MAX, KEY_PACKAGES_MAX};
use stonechat_wire::message::DeviceKeyPackage;
use stonechat_wire::{AccountId, Bytes, ErrorCode, Failure, List, Reply, Seq, Timestamp, Token};

use super::tokens::Purpose;
use super::{Principal, Services, keys, refuse, store_failed};
use crate::store::{Append, Expect, KeyedLog};

impl<S: KeyedLog> Services<S> {
    /// [`stonechat_wire::Request::PublishKeyPackages`]: refused as a whole when the pool would pass its bound.
    pub(crate) async fn publish_key_packages(
        &self,
        who: Principal,
        now: Timestamp,
        packages: List<Bytes<KEY_PACKAGE_BYTES_MAX>, KEY_PACKAGES_MAX>,
        last_resort: Option<Bytes<KEY_PACKAGE_BYTES_MAX>>,
    ) -> Result<Reply, Failure> {
        let pool = keys::key_packages(&who.account, &who.device);
        let count = self.count(&pool, now).await? + packages.len();
        if count > KEY_PACKAGES_MAX {
            return Err(refuse(ErrorCode::Full));
        }
        if let Some(package) = last_resort {
            let key = keys::last_resort(&who.account, &who.device);
            if let Append::Appended(seq) = self.append_bytes(&key, Expect::Any, package.into_vec(), None, now).await? {
                self.store.trim(&key, Seq(seq.0 - 1)).await.map_err(store_failed)?;
            }
        }
        let ttl = Some(CONVERSATION_TTL_SECS);
        let appends =
            packages.into_vec().into_iter().map(|p| self.append_bytes(&pool, Expect::Any, p.into_vec(), ttl, now));
        try_join_all(appends).await?;
        Ok(Reply::KeyPackageCount(count as u32))
    }

    /// [`stonechat_wire::Request::TakeKeyPackages`]: one of each device that has any.
    pub(crate) async fn take_key_packages(
        &self,
        now: Timestamp,
        account: &AccountId,
        token: &Token,
    ) -> Result<Reply, Failure> {
        let known = self.account(account, now).await?.ok_or(refuse(ErrorCode::NotFound))?;
        self.redeem(token, Purpose::new("take key packages").with(&account.0), false, now).await?;
        let mut packages = Vec::with_capacity(known.state.devices().len().min(DEVICES_MAX));
        let mut bytes = 0;
        for device in known.state.devices() {
            let taken =
                self.store.take_first(&keys::key_packages(account, &device.id), now).await.map_err(store_failed)?;
            let package = match taken {
                Some(entry) => Some(entry),
                None => self.last(&keys::last_resort(account, &device.id), now).await?,
            };
            let Some(package) = package else { continue };
            bytes += package.bytes.len();
            // The answer is one frame. Devices beyond it are reached when a member adds them later.
            if bytes > REPLY_BYTES_MAX {
                break;
            }
            let package = Bytes::new(package.bytes).map_err(|_| store_failed("a stored key package is too long"))?;
            packages.push(DeviceKeyPackage { device: device.id, package });
        }
        Ok(Reply::KeyPackages(List::new(packages).expect("an account has at most DEVICES_MAX devices")))
    }
}

const REPLY_BYTES_MAX: usize = stonechat_wire::limits::FRAME_BYTES_MAX - 16 * 1024;

#[cfg(test)]
mod tests {
    use stonechat_wire::Request;

    use super::*;
    use crate::services::testing::{person, world};

    fn package(n: u8) -> Bytes<KEY_PACKAGE_BYTES_MAX> {
        Bytes::new(vec![n; 10]).unwrap()
    }

    fn publish(packages: Vec<Bytes<KEY_PACKAGE_BYTES_MAX>>, last_resort: Option<u8>) -> Request {
        Request::PublishKeyPackages { packages: List::new(packages).unwrap(), last_resort: last_resort.map(package) }
    }

    #[test]
    fn each_is_given_out_once_and_then_the_last_resort() {
        let world = world();
        let alice = person("alice");
        let mut device = world.device(&alice);
        let take = || {
            let request = Request::TakeKeyPackages { account: alice.account, token: world.token() };
            let Ok(Reply::KeyPackages(taken)) = world.ask(&mut world.session(), request) else { panic!() };
            taken.iter().map(|taken| taken.package[0]).collect::<Vec<_>>()
        };
        assert_eq!(take(), [0_u8; 0], "nothing published yet");
        assert_eq!(
            world.ask(&mut device, publish(vec![package(1), package(2)], Some(8))),
            Ok(Reply::KeyPackageCount(2))
        );
        assert_eq!(world.ask(&mut device, publish(vec![], Some(9))), Ok(Reply::KeyPackageCount(2)));
        assert_eq!([take(), take(), take(), take()].concat(), [1, 2, 9, 9]);
    }

    #[test]
    fn a_pool_past_its_bound_is_refused_whole() {
        let world = world();
        let mut device = world.device(&person("alice"));
        assert_eq!(world.ask(&mut device, publish(vec![package(1); 60], None)), Ok(Reply::KeyPackageCount(60)));
        assert_eq!(world.refused(&mut device, publish(vec![package(1); 41], None)), ErrorCode::Full);
        assert_eq!(world.ask(&mut device, publish(vec![package(1); 40], None)), Ok(Reply::KeyPackageCount(100)));
    }

    #[test]
    fn an_unknown_account_costs_no_token() {
        let world = world();
        let (alice, token) = (person("alice"), world.token());
        let (nonce, output) = (token.nonce, token.output);
        let take = |token| Request::TakeKeyPackages { account: alice.account, token };
        assert_eq!(world.refused(&mut world.session(), take(token)), ErrorCode::NotFound);
        world.device(&alice);
        assert!(world.ask(&mut world.session(), take(Token { nonce, output })).is_ok());
    }
}
