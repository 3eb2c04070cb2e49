//! Typed records: each type says which table it is in and under which key, once, beside the room that owns it.
//!
//! A record is a byte for its format and CBOR with integer keys. One that does not decode means a damaged vault and is an
//! error, never skipped.

use minicbor::{Decode, Encode};
use stonechat_wire::{decode, encode};

use super::vault::{Order, Row, Table, Txn, VaultError, VaultRead, prefix_end};

/// A record of the vault.
pub(crate) trait Record: Encode<()> + for<'b> Decode<'b, ()> {
    /// Where it is.
    const TABLE: Table;
    /// What names it there.
    type Key;

    /// The bytes of its key.
    fn key(key: &Self::Key) -> Vec<u8>;

    /// The bytes of its value.
    fn to_bytes(&self) -> Vec<u8> {
        [&[RECORD_FORMAT], encode(self).as_slice()].concat()
    }

    /// Reads what [`Record::to_bytes`] wrote.
    fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        parse(bytes)
    }
}

/// A record whose rows can be listed.
pub(crate) trait Listed: Record {
    /// What the keys of all of them start with.
    const PREFIX: &'static [u8] = &[];

    /// The key behind [`Listed::PREFIX`].
    fn parse_key(rest: &[u8]) -> Option<Self::Key>;
}

/// Reads through a step's overlay or straight from the vault.
pub(crate) trait Read {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError>;
    fn values(&self, table: Table, low: &[u8], high: &[u8], order: Order, limit: usize)
    -> Result<Vec<Row>, VaultError>;

    fn load<R: Record>(&self, key: &R::Key) -> Result<Option<R>, VaultError> {
        self.value(R::TABLE, &R::key(key))?.map(|bytes| R::from_bytes(&bytes)).transpose()
    }

    /// A record that must be there.
    fn need<R: Record>(&self, key: &R::Key) -> Result<R, VaultError> {
        self.load(key)?.ok_or_else(|| VaultError { detail: format!("a record of {:?} is missing", R::TABLE) })
    }

    fn has<R: Record>(&self, key: &R::Key) -> Result<bool, VaultError> {
        Ok(self.value(R::TABLE, &R::key(key))?.is_some())
    }

    /// At most `limit` records of this kind, in the order of their keys.
    fn list<R: Listed>(&self, limit: usize) -> Result<Vec<(R::Key, R)>, VaultError> {
        let rows = self.starting_with(R::TABLE, R::PREFIX, limit)?;
        let read = |(key, value): Row| {
            let key = key.get(R::PREFIX.len()..).and_then(R::parse_key).ok_or_else(damaged)?;
            Ok((key, R::from_bytes(&value)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// How many records of this kind there are, counted up to `limit`.
    fn count_up_to<R: Listed>(&self, limit: usize) -> Result<usize, VaultError> {
        Ok(self.starting_with(R::TABLE, R::PREFIX, limit)?.len())
    }

    fn starting_with(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Row>, VaultError> {
        self.values(table, prefix, &prefix_end(prefix), Order::Ascending, limit)
    }
}

impl Read for Txn<'_> {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        self.get(table, key)
    }
    fn values(
        &self,
        table: Table,
        low: &[u8],
        high: &[u8],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Row>, VaultError> {
        self.range(table, low, high, order, limit)
    }
}

impl Read for &dyn VaultRead {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        self.get(table, key)
    }
    fn values(
        &self,
        table: Table,
        low: &[u8],
        high: &[u8],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Row>, VaultError> {
        self.range(table, low, high, order, limit)
    }
}

impl Txn<'_> {
    /// Writes a record.
    pub(crate) fn store<R: Record>(&mut self, key: &R::Key, row: &R) {
        self.put(R::TABLE, R::key(key), row.to_bytes());
    }

    /// Deletes a record.
    pub(crate) fn remove<R: Record>(&mut self, key: &R::Key) {
        self.delete(R::TABLE, R::key(key));
    }
}

/// What every record starts with: the format of what follows. It changes when old records would be misread; the code that
/// reads them stays.
const RECORD_FORMAT: u8 = 1;

/// Decodes a record.
pub(crate) fn parse<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, VaultError> {
    match bytes.split_first() {
        Some((&RECORD_FORMAT, record)) => decode(record).map_err(|_| damaged()),
        Some((found, _)) => Err(VaultError {
            detail: format!(
                "a record has format {found} and this app knows {RECORD_FORMAT}; a newer one wrote it: update"
            ),
        }),
        None => Err(damaged()),
    }
}

pub(crate) fn damaged() -> VaultError {
    VaultError { detail: "a record does not decode".into() }
}

/// `#[cbor(with)]` for 32 bytes or null.
pub(crate) mod optional32 {
    use minicbor::data::Type;
    use minicbor::decode::Error as DecodeFailure;
    use minicbor::encode::{Error as EncodeFailure, Write};
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        value: &Option<[u8; 32]>,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeFailure<W::Error>> {
        match value {
            Some(bytes) => stonechat_wire::codec::fixed::encode(bytes, e, ctx),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Option<[u8; 32]>, DecodeFailure> {
        if d.datatype()? == Type::Null {
            d.null()?;
            return Ok(None);
        }
        stonechat_wire::codec::fixed::decode(d, ctx).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::vault::MemoryVault;

    #[derive(Encode, Decode, Debug, PartialEq, Eq)]
    #[cbor(map)]
    struct Thing {
        #[n(0)]
        number: u64,
        #[n(1)]
        text: String,
    }

    impl Record for Thing {
        const TABLE: Table = Table::Seen;
        type Key = u8;
        fn key(key: &u8) -> Vec<u8> {
            vec![b't', *key]
        }
    }

    impl Listed for Thing {
        const PREFIX: &'static [u8] = b"t";
        fn parse_key(rest: &[u8]) -> Option<u8> {
            rest.first().copied().filter(|_| rest.len() == 1)
        }
    }

    fn thing(number: u64) -> Thing {
        Thing { number, text: "thing".into() }
    }

    fn stored(bytes: &[u8]) -> Result<Option<Thing>, VaultError> {
        let vault = MemoryVault::default();
        let mut txn = Txn::new(&vault);
        txn.put(Table::Seen, b"t1", bytes);
        txn.load(&b'1')
    }

    #[test]
    fn a_record_is_read_back_listed_and_removed() {
        let vault = MemoryVault::default();
        let mut txn = Txn::new(&vault);
        txn.store(&2, &thing(2));
        txn.store(&1, &thing(1));
        txn.put(Table::Seen, b"u".to_vec(), Vec::new());
        assert_eq!(txn.load::<Thing>(&1).unwrap(), Some(thing(1)));
        assert_eq!(txn.list::<Thing>(9).unwrap(), [(1, thing(1)), (2, thing(2))]);
        assert_eq!(txn.list::<Thing>(1).unwrap(), [(1, thing(1))]);
        assert_eq!(txn.count_up_to::<Thing>(9).unwrap(), 2);
        txn.remove::<Thing>(&1);
        assert!(!txn.has::<Thing>(&1).unwrap() && txn.has::<Thing>(&2).unwrap());
        assert!(txn.need::<Thing>(&1).unwrap_err().detail.contains("missing"));
        // A key that is none of this kind is damage, not somebody else's row.
        txn.put(Table::Seen, b"t22".to_vec(), thing(3).to_bytes());
        assert!(txn.list::<Thing>(9).is_err());
    }

    #[test]
    fn a_record_says_its_format_and_another_one_is_named() {
        let bytes = thing(7).to_bytes();
        assert_eq!(bytes[0], 1);
        assert_eq!(stored(&bytes).unwrap(), Some(thing(7)));
        let newer = stored(&[&[2], &bytes[1..]].concat()).unwrap_err();
        assert!(newer.detail.contains("format 2") && newer.detail.contains("update"), "{newer}");
        for damaged in [&[][..], &bytes[..1], &bytes[..4], &[bytes.as_slice(), &[0]].concat()] {
            assert!(stored(damaged).unwrap_err().detail.contains("does not decode"));
        }
    }
}
