//! State with a TTL in rows of the persistent tier: what reads do to it is archived, and what is
//! restored expires when it was going to.

use std::cell::RefCell;
use std::rc::Rc;

use crate::backend::{MemoryTier, PartitionLayout, TableStore};
use crate::codec::TableId;
use crate::{
    Epoch, Key, KeyGroupRange, ListState, ListStateDescriptor, MapState, MapStateDescriptor,
    RowCursor, RowStore, StateError, StateRegistrar, StateTtl, TtlUpdate, ValueState,
    ValueStateDescriptor,
};

const KEY: u64 = 7;

struct Fixture {
    tier: Rc<RefCell<MemoryTier>>,
    epoch: Epoch,
    rows: RowStore<u64>,
    value: ValueState<u64>,
    list: ListState<u64>,
    map: MapState<u64, u64>,
}

impl Fixture {
    fn new(ttl: StateTtl) -> Self {
        Fixture::on(Rc::new(RefCell::new(MemoryTier::new())), Epoch::FIRST, ttl)
    }

    fn on(tier: Rc<RefCell<MemoryTier>>, epoch: Epoch, ttl: StateTtl) -> Self {
        let mut registrar = StateRegistrar::new::<u64>("ttl");
        let value = ValueStateDescriptor::new("value").with_ttl(ttl);
        let value = registrar.register_value(&value).unwrap();
        let list = ListStateDescriptor::new("list").with_ttl(ttl);
        let list = registrar.register_list(&list).unwrap();
        let map = MapStateDescriptor::new("map").with_ttl(ttl);
        let map = registrar.register_map(&map).unwrap();
        let layout = PartitionLayout::new(KeyGroupRange { start: 0, end: 128 }, 128);
        let store = TableStore::new(TableId(1), layout, epoch, tier.clone());
        let rows = RowStore::attached(registrar, store, &[0, 1, 2]).unwrap();
        Fixture { tier, epoch, rows, value, list, map }
    }

    fn at(
        &mut self,
        now_ms: i64,
        code: impl FnOnce(&Self, &mut RowCursor<'_>) -> Result<(), StateError>,
    ) {
        self.rows.set_now_ms(now_ms);
        let empty = RowStore::new(StateRegistrar::new::<u64>("none")).unwrap();
        let mut rows = std::mem::replace(&mut self.rows, empty);
        let (mut cursor, _) = rows.enter(KEY.key_hash(), &KEY).unwrap();
        let row = cursor.row_id().unwrap();
        code(self, &mut cursor).unwrap();
        rows.release(row);
        self.rows = rows;
    }

    /// A checkpoint, and a new run from it.
    fn restart(mut self, ttl: StateTtl) -> Self {
        self.rows.barrier().unwrap();
        assert!(self.rows.beat(usize::MAX).unwrap().is_done());
        Fixture::on(self.tier, self.epoch.next(), ttl)
    }

    fn write(&mut self, now_ms: i64) {
        self.at(now_ms, |this, ctx| {
            this.value.update(ctx, 1)?;
            this.list.add_all(ctx, [2, 3])?;
            this.map.put_all(ctx, [(4, 5), (6, 7)])
        });
    }

    /// Reads all states, and the map entry by entry or as a whole; what is there?
    fn read(
        &mut self,
        now_ms: i64,
        entry_by_entry: bool,
    ) -> (Option<u64>, Vec<u64>, Vec<(u64, u64)>) {
        let mut read = Default::default();
        self.at(now_ms, |this, ctx| {
            let mut entries = Vec::new();
            if entry_by_entry {
                for key in [4, 6] {
                    entries.extend(this.map.get(ctx, &key)?.map(|value| (key, value)));
                }
            } else {
                entries = this.map.entries(ctx)?;
                entries.sort_unstable();
            }
            read = (this.value.value(ctx)?, this.list.get(ctx)?, entries);
            Ok(())
        });
        read
    }
}

fn all() -> (Option<u64>, Vec<u64>, Vec<(u64, u64)>) {
    (Some(1), vec![2, 3], vec![(4, 5), (6, 7)])
}

#[test]
fn reads_that_refresh_are_archived() {
    let ttl = StateTtl::after_ms(100).update(TtlUpdate::OnReadAndWrite);
    for entry_by_entry in [false, true] {
        let mut fixture = Fixture::new(ttl);
        fixture.write(0);
        for now_ms in [60, 120, 180] {
            fixture = fixture.restart(ttl);
            assert_eq!(fixture.read(now_ms, entry_by_entry), all(), "{now_ms}");
        }
        assert_eq!(fixture.read(280, entry_by_entry), Default::default());
        assert!(fixture.rows.is_empty());
        fixture = fixture.restart(ttl);
        assert_eq!(fixture.read(0, entry_by_entry), Default::default(), "a read removed it");
    }
}

#[test]
fn reads_that_do_not_refresh_are_not() {
    let ttl = StateTtl::after_ms(100);
    let mut fixture = Fixture::new(ttl);
    fixture.write(0);
    fixture = fixture.restart(ttl);
    assert_eq!(fixture.read(99, false), all());
    fixture = fixture.restart(ttl);
    assert_eq!(fixture.read(100, true), Default::default());
}

#[test]
fn records_keep_their_expiry_under_another_ttl() {
    let (short, long) = (StateTtl::after_ms(100), StateTtl::after_ms(1_000));
    let mut fixture = Fixture::new(short);
    fixture.write(0);
    fixture = fixture.restart(long);
    fixture.at(50, |this, ctx| {
        this.value.modify(ctx, |value| *value += 10)?;
        this.list.add(ctx, 4)?;
        this.map.put(ctx, 4, 50)
    });
    fixture = fixture.restart(long);
    assert_eq!(fixture.read(99, false), (Some(11), vec![2, 3, 4], vec![(4, 50), (6, 7)]));
    assert_eq!(fixture.read(100, false), (Some(11), vec![4], vec![(4, 50)]));
    fixture = fixture.restart(short);
    assert_eq!(fixture.read(1_049, false), (Some(11), vec![4], vec![(4, 50)]));
    assert_eq!(fixture.read(1_050, false), Default::default());
}
