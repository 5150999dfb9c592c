//! The auction site's events, in memory.
//!
//! They come from the crate `nexmark`, whose generator is seeded with the number of each event, so they are the same
//! everywhere. Texts that no query reads (e-mail addresses, credit cards, descriptions, extra) are left out; what is
//! left of names, cities, channels and URLs is kept in a form of fixed size and is written out in full in results.

use nexmark::config::{NexmarkConfig, RateShape};
use nexmark::event::Event as Generated;
use std::fmt;

/// When the first event happens: ms since 1970.
pub const BASE_MS: i64 = 1_600_000_000_000;
/// Events a second of event time.
const RATE: usize = 1_000;

const CITIES: [&str; 10] = [
    "phoenix",
    "los angeles",
    "san francisco",
    "boise",
    "portland",
    "bend",
    "redmond",
    "seattle",
    "kent",
    "cheyenne",
];
const STATES: [&str; 6] = ["az", "ca", "id", "or", "wa", "wy"];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
/// Channels below this number are called by it, those from it on are the hot ones.
const NUMBERED_CHANNELS: u32 = 10_000;

/// A person's name: ASCII, padded with zeros.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Name(pub [u8; 24]);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ascii(&self.0))
    }
}

/// A US city.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct City(u8);

impl City {
    /// Its name.
    pub fn name(self) -> &'static str {
        CITIES[usize::from(self.0)]
    }

    /// Its number among them.
    #[inline(always)]
    pub fn number(self) -> u64 {
        self.0.into()
    }
}

/// A US state.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State(u8);

impl State {
    /// Its two letters.
    #[inline(always)]
    pub fn name(self) -> &'static str {
        STATES[usize::from(self.0)]
    }

    /// Its number among them.
    #[inline(always)]
    pub fn number(self) -> u64 {
        self.0.into()
    }
}

/// Through which a bid came.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel(pub u32);

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.checked_sub(NUMBERED_CHANNELS) {
            Some(hot) => f.write_str(HOT_CHANNELS[hot as usize]),
            None => write!(f, "channel-{}", self.0),
        }
    }
}

impl Channel {
    fn parse(text: &str) -> Self {
        let hot = HOT_CHANNELS.iter().position(|hot| *hot == text);
        let number = || text.strip_prefix("channel-").and_then(|number| number.parse().ok());
        let number = hot.map(|hot| hot as u32 + NUMBERED_CHANNELS).or_else(number);
        Channel(number.unwrap_or_else(|| panic!("the generator's channels, not '{text}'")))
    }

    /// The number that the generator gives it in URLs.
    fn id(self) -> u64 {
        i64::from((self.0 as i32).reverse_bits()).unsigned_abs()
    }
}

/// A bid's address; the rest of its text follows from the channel.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Url {
    directories: [[u8; 4]; 3],
    names_channel: bool,
}

const URL_BEGIN: &str = "https://www.nexmark.com/";
const URL_END: &str = "/item.htm?query=1";
const URL_CHANNEL: &str = "&channel_id=";

impl Url {
    fn parse(text: &str, channel: Channel) -> Self {
        let parts = text.strip_prefix(URL_BEGIN).and_then(|rest| rest.split_once(URL_END));
        let (path, query) = parts.unwrap_or_else(|| panic!("the generator's URLs, not '{text}'"));
        let mut directories = [[0; 4]; 3];
        for (directory, name) in directories.iter_mut().zip(path.split('/')) {
            directory[..name.len()].copy_from_slice(name.as_bytes());
        }
        let url = Url { directories, names_channel: !query.is_empty() };
        assert_eq!(url.text(channel), text, "a URL is known by its directories and its channel");
        url
    }

    /// The whole of it.
    pub fn text(self, channel: Channel) -> String {
        let [first, second, third] = self.directories.each_ref().map(|name| ascii(name));
        let mut text = format!("{URL_BEGIN}{first}/{second}/{third}{URL_END}");
        if self.names_channel {
            text.push_str(&format!("{URL_CHANNEL}{}", channel.id()));
        }
        text
    }
}

/// Text that is padded with zeros.
fn ascii(padded: &[u8]) -> &str {
    let length = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
    std::str::from_utf8(&padded[..length]).expect("the generator's texts are ASCII")
}

/// Somebody who sells and bids.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Person {
    /// Unique.
    pub id: u64,
    /// When they registered: ms since 1970.
    pub ms: i64,
    /// First and last name.
    pub name: Name,
    /// Where they live.
    pub city: City,
    /// In which state.
    pub state: State,
}

/// An item that is sold.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auction {
    /// Unique.
    pub id: u64,
    /// Who sells it.
    pub seller: u64,
    /// Of what kind it is.
    pub category: u64,
    /// The least bid, in cents.
    pub initial_bid: u64,
    /// The least price for which it is sold, in cents.
    pub reserve: u64,
    /// When it opens: ms since 1970.
    pub ms: i64,
    /// When it closes: ms since 1970.
    pub expires_ms: i64,
}

/// An offer.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bid {
    /// For which auction.
    pub auction: u64,
    /// By whom.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// When: ms since 1970.
    pub ms: i64,
    /// Through which channel.
    pub channel: Channel,
    /// By which address.
    pub url: Url,
}

/// What happens on the site.
#[thalweg::record]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Somebody registers.
    Person(Person),
    /// An auction opens.
    Auction(Auction),
    /// Somebody bids.
    Bid(Bid),
}

impl Event {
    /// When: ms since 1970.
    #[inline(always)]
    pub fn ms(&self) -> i64 {
        match self {
            Event::Person(person) => person.ms,
            Event::Auction(auction) => auction.ms,
            Event::Bid(bid) => bid.ms,
        }
    }

    /// The bid, if it is one.
    #[inline(always)]
    pub fn bid(self) -> Option<Bid> {
        match self {
            Event::Bid(bid) => Some(bid),
            _ => None,
        }
    }

    fn of(generated: Generated) -> Self {
        let position = |known: &[&str], text: &str| {
            let position = known.iter().position(|known| *known == text);
            position.unwrap_or_else(|| panic!("the generator's places, not '{text}'")) as u8
        };
        match generated {
            Generated::Person(person) => {
                let mut name = [0; 24];
                name[..person.name.len()].copy_from_slice(person.name.as_bytes());
                Event::Person(Person {
                    id: person.id as u64,
                    ms: person.date_time as i64,
                    name: Name(name),
                    city: City(position(&CITIES, &person.city)),
                    state: State(position(&STATES, &person.state)),
                })
            }
            Generated::Auction(auction) => Event::Auction(Auction {
                id: auction.id as u64,
                seller: auction.seller as u64,
                category: auction.category as u64,
                initial_bid: auction.initial_bid as u64,
                reserve: auction.reserve as u64,
                ms: auction.date_time as i64,
                expires_ms: auction.expires as i64,
            }),
            Generated::Bid(bid) => {
                let channel = Channel::parse(&bid.channel);
                Event::Bid(Bid {
                    auction: bid.auction as u64,
                    bidder: bid.bidder as u64,
                    price: bid.price as u64,
                    ms: bid.date_time as i64,
                    channel,
                    url: Url::parse(&bid.url, channel),
                })
            }
        }
    }
}

/// The first events, which may be repeated without end: each round has ids and times of its own.
pub struct Dataset {
    events: Vec<Event>,
    /// By how much a round moves ids and times.
    persons: u64,
    auctions: u64,
    span_ms: i64,
}

impl Dataset {
    /// The first `count` events, which are 64 bytes each.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn generate(count: usize) -> Self {
        let configuration = NexmarkConfig {
            base_time: BASE_MS as u64,
            first_rate: RATE,
            next_rate: RATE,
            rate_shape: RateShape::Square,
            ..NexmarkConfig::default()
        };
        let generator = nexmark::EventGenerator::new(configuration);
        let events: Vec<Event> = generator.take(count).map(Event::of).collect();
        let last = events.last().expect("there are events");
        let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count() as u64;
        let persons = count(|event| matches!(event, Event::Person(_)));
        let auctions = count(|event| matches!(event, Event::Auction(_)));
        let span_ms = last.ms() + 1 - BASE_MS;
        Dataset { events, persons, auctions, span_ms }
    }

    /// How many events a round has.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Event `index` of round `round`, both from 0.
    #[inline(always)]
    pub fn event(&self, round: u64, index: usize) -> Event {
        let mut event = self.events[index];
        let (persons, auctions) = (round * self.persons, round * self.auctions);
        let span_ms = round as i64 * self.span_ms;
        match &mut event {
            Event::Person(person) => {
                person.id += persons;
                person.ms += span_ms;
            }
            Event::Auction(auction) => {
                auction.id += auctions;
                auction.seller += persons;
                auction.ms += span_ms;
                auction.expires_ms += span_ms;
            }
            Event::Bid(bid) => {
                bid.auction += auctions;
                bid.bidder += persons;
                bid.ms += span_ms;
            }
        }
        event
    }
}

/// The events `first`, `first + step`, .. of a data set that is repeated without end.
#[derive(Clone, Debug)]
pub struct Cursor {
    round: u64,
    index: usize,
    step: usize,
}

impl Cursor {
    /// Before the event `first`.
    pub fn new(first: usize, step: usize) -> Self {
        Cursor { round: 0, index: first, step }
    }

    /// The next event.
    #[inline(always)]
    pub fn next(&mut self, dataset: &Dataset) -> Event {
        while self.index >= dataset.len() {
            self.index -= dataset.len();
            self.round += 1;
        }
        let event = dataset.event(self.round, self.index);
        self.index += self.step;
        event
    }
}
