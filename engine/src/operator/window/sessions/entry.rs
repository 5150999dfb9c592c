//! The open sessions of a key: two inline, since a session is often still waiting for its watermark when the next one
//! has begun, and any number behind a pointer.

use crate::window::TimeWindow;
use std::num::NonZeroU64;

/// A session, open or waiting for late elements.
#[derive(Debug)]
pub(super) struct Session<A> {
    start: i64,
    end: i64,
    /// The serial number, times two; plus one if it has fired. A niche, so that an empty place costs nothing.
    tag: NonZeroU64,
    pub(super) accumulator: A,
}

impl<A> Session<A> {
    /// A session that has not got a deadline yet, which is how one looks that has fired.
    pub(super) fn new((start, end): (i64, i64), serial: u64, accumulator: A) -> Self {
        let tag = NonZeroU64::new(serial << 1 | 1).expect("its lowest bit is set");
        Session { start, end, tag, accumulator }
    }

    #[inline(always)]
    pub(super) fn serial(&self) -> u64 {
        self.tag.get() >> 1
    }
    #[inline(always)]
    pub(super) fn is_fired(&self) -> bool {
        self.tag.get() & 1 == 1
    }
    #[inline(always)]
    pub(super) fn set_fired(&mut self, fired: bool) {
        let tag = self.tag.get() & !1 | u64::from(fired);
        self.tag = NonZeroU64::new(tag).expect("serial numbers begin with one");
    }
    #[inline(always)]
    pub(super) fn last_instant(&self) -> i64 {
        self.end - 1
    }
    pub(super) fn window(&self) -> TimeWindow {
        TimeWindow { start: self.start, end: self.end }
    }
    #[inline(always)]
    fn touches(&self, start: i64, end: i64) -> bool {
        self.start <= end && start <= self.end
    }
    #[inline(always)]
    pub(super) fn extend(&mut self, start: i64, end: i64) -> &mut Self {
        self.start = self.start.min(start);
        self.end = self.end.max(end);
        self
    }
}

/// A key and its sessions.
pub(super) struct Entry<K, A> {
    pub(super) key: K,
    near: [Option<Session<A>>; 2],
    /// What does not fit; `None` rather than empty.
    more: Option<Box<More<A>>>,
}

struct More<A>(Vec<Session<A>>);

impl<K, A> Entry<K, A> {
    pub(super) fn new(key: K) -> Self {
        Entry { key, near: [None, None], more: None }
    }

    fn sessions(&self) -> impl Iterator<Item = &Session<A>> {
        let more = self.more.iter().flat_map(|more| &more.0);
        self.near.iter().flatten().chain(more)
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.near[0].is_none() && self.near[1].is_none() && self.more.is_none()
    }

    /// The session that an element's window touches, if it is the only one and all are inline.
    #[inline(always)]
    pub(super) fn only_touching(&mut self, start: i64, end: i64) -> Option<&mut Session<A>> {
        if self.more.is_some() {
            return None;
        }
        let touches =
            |place: &Option<Session<A>>| place.as_ref().is_some_and(|s| s.touches(start, end));
        match (touches(&self.near[0]), touches(&self.near[1])) {
            (true, false) => self.near[0].as_mut(),
            (false, true) => self.near[1].as_mut(),
            _ => None,
        }
    }

    /// Does any session touch an element's window?
    #[inline]
    pub(super) fn touches(&self, start: i64, end: i64) -> bool {
        self.sessions().any(|session| session.touches(start, end))
    }

    #[inline]
    pub(super) fn find(&self, serial: u64) -> Option<&Session<A>> {
        self.sessions().find(|session| session.serial() == serial)
    }

    /// The key, and the session to change.
    #[inline]
    pub(super) fn key_and_session(&mut self, serial: u64) -> (&K, Option<&mut Session<A>>) {
        let Entry { key, near, more } = self;
        let more = more.iter_mut().flat_map(|more| &mut more.0);
        let mut sessions = near.iter_mut().flatten().chain(more);
        (key, sessions.find(|session| session.serial() == serial))
    }

    /// Adds a session that touches no other.
    #[inline]
    pub(super) fn push(&mut self, session: Session<A>) -> &mut Session<A> {
        if let Some(place) = self.near.iter().position(Option::is_none) {
            return self.near[place].insert(session);
        }
        let more = &mut self.more.get_or_insert_with(|| Box::new(More(Vec::new()))).0;
        more.push(session);
        more.last_mut().expect("just pushed")
    }

    #[inline]
    pub(super) fn remove(&mut self, serial: u64) {
        let is_it = |session: &Session<A>| session.serial() == serial;
        for place in &mut self.near {
            if place.take_if(|session| is_it(session)).is_some() {
                return;
            }
        }
        if let Some(more) = &mut self.more {
            more.0.retain(|session| !is_it(session));
            if more.0.is_empty() {
                self.more = None;
            }
        }
    }

    /// Merges all sessions that an element's window touches into the first of them, which it extends. There is at least
    /// one.
    #[cold]
    pub(super) fn bridge(
        &mut self,
        start: i64,
        end: i64,
        mut merge: impl FnMut(&mut A, &A),
    ) -> &mut Session<A> {
        let mut touching = self.take_touching(start, end);
        touching.sort_unstable_by_key(|session| (session.start, session.end));
        let mut touching = touching.into_iter();
        let mut whole = touching.next().expect("the caller knows that there is one");
        whole.extend(start, end);
        for session in touching {
            whole.extend(session.start, session.end);
            merge(&mut whole.accumulator, &session.accumulator);
        }
        self.push(whole)
    }

    fn take_touching(&mut self, start: i64, end: i64) -> Vec<Session<A>> {
        let touches = |session: &mut Session<A>| session.touches(start, end);
        let mut taken: Vec<_> =
            self.near.iter_mut().filter_map(|place| place.take_if(touches)).collect();
        if let Some(more) = &mut self.more {
            taken.extend(more.0.extract_if(.., touches));
            if more.0.is_empty() {
                self.more = None;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sessions: &[(i64, i64)]) -> Entry<u8, Vec<i64>> {
        let mut entry = Entry::new(0);
        for (serial, (start, end)) in sessions.iter().enumerate() {
            entry.push(Session::new((*start, *end), serial as u64 + 1, vec![*start]));
        }
        entry
    }

    fn windows(entry: &Entry<u8, Vec<i64>>) -> Vec<(i64, i64)> {
        let mut windows: Vec<_> = entry.sessions().map(|s| (s.start, s.end)).collect();
        windows.sort_unstable();
        windows
    }

    #[test]
    fn an_empty_place_costs_nothing() {
        assert_eq!(size_of::<Option<Session<u64>>>(), size_of::<Session<u64>>());
        assert_eq!(size_of::<Entry<u64, u64>>(), 80);
    }

    #[test]
    fn sessions_are_found_bridged_and_removed() {
        let mut entry = entry(&[(0, 10), (100, 110), (200, 210), (300, 310), (50, 60)]);
        assert!(entry.only_touching(0, 10).is_none(), "some are not inline");
        assert!(entry.touches(60, 70) && !entry.touches(61, 71));
        let whole = entry.bridge(55, 200, |into, other| into.extend(other));
        assert_eq!(whole.accumulator, [50, 100, 200]);
        assert_eq!((whole.serial(), whole.window()), (5, TimeWindow::new(50, 210)));
        assert_eq!(windows(&entry), [(0, 10), (50, 210), (300, 310)]);
        for serial in [1, 4, 5] {
            assert!(entry.find(serial).is_some() && !entry.is_empty());
            entry.remove(serial);
        }
        assert!(entry.is_empty());
    }

    #[test]
    fn fired_is_a_part_of_the_tag() {
        let mut session = Session::new((3, 9), 7, ());
        assert!(session.is_fired());
        session.set_fired(false);
        assert_eq!((session.is_fired(), session.serial()), (false, 7));
        session.extend(5, 20);
        assert_eq!((session.window(), session.last_instant()), (TimeWindow::new(3, 20), 19));
    }
}
