//! Golden files, and what holds for pictures of any graph.

use super::*;
use crate::analysis::testing::Builder;
use crate::model::{Kind, StackId};
use crate::render::golden;

/// A graph of `names` by level; edges by position with their class.
fn graph_of(names: &[(&str, u32, Option<u32>)], edges: &[(u32, u32, u64, Option<Class>)]) -> (Session, Graph) {
    let mut b = Builder::new();
    let held = b.stack(&[("Journal::flush()", "src/journal.cc", 77), ("flusher(void*)", "src/journal.cc", 95)]);
    let wanted = b.stack(&[("Account::settle()", "src/account.h", 5), ("flusher(void*)", "src/journal.cc", 95)]);
    let nodes = (names.iter().enumerate())
        .map(|(at, (name, level, component))| GraphNode {
            lock: b.lock(name, if at % 3 == 2 { Kind::Rwlock } else { Kind::Mutex }),
            name: (*name).into(),
            locks: if at % 4 == 1 { 12 } else { 1 },
            level: *level,
            component: *component,
        })
        .collect();
    let edges = edges.iter().map(|(from, to, count, cycle)| GraphEdge {
        from: *from,
        to: *to,
        count: *count,
        threads: 2,
        stacks: if at_random(*from) { (held, wanted) } else { (held, StackId(0)) },
        modes: (Mode::Exclusive, if *to == 2 { Mode::Shared } else { Mode::Exclusive }),
        cycle: *cycle,
    });
    let graph = Graph { nodes, edges: edges.collect() };
    (b.session, graph)
}

fn at_random(from: u32) -> bool {
    from.is_multiple_of(2)
}

fn small() -> (Session, Graph) {
    graph_of(
        &[
            ("config_lock", 0, None),
            ("acct->lock", 1, Some(0)),
            ("journal.mu", 1, Some(0)),
            ("cache.shard[3].mu", 2, None),
            ("engine::storage::ShardedCache<Key, Value>::shards[17].mutex_", 3, None),
        ],
        &[
            (0, 1, 12, None),
            (0, 3, 40, None),
            (0, 4, 1, None),
            (1, 1, 5, Some(Class::Guarded)),
            (1, 2, 12_345, Some(Class::Feasible)),
            (2, 1, 3, Some(Class::Feasible)),
            (2, 3, 700, None),
            (3, 4, 1_234_567, None),
        ],
    )
}

/// As many locks as told, and orders between levels (and a few against them), always the same.
fn random(nodes: usize, edges: usize, levels: u32) -> (Session, Graph) {
    let mut state = 42u64;
    let mut next = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut all: Vec<(String, u32)> = (0..nodes)
        .map(|at| {
            let name = match at % 4 {
                0 => format!("g_registry_lock_{at}"),
                1 => format!("conn[{at}]->write_lock"),
                2 => format!("pool_{at}.mu"),
                _ => format!("buf_pool_t::instance[{at}].flush_list_mutex"),
            };
            (name, next(u64::from(levels)) as u32)
        })
        .collect();
    all.sort_by_key(|(_, level)| *level);
    let mut pairs = std::collections::BTreeMap::new();
    for _ in 0..edges {
        let (a, b) = (next(nodes as u64) as u32, next(nodes as u64) as u32);
        let (from, to) = if all[a as usize].1 <= all[b as usize].1 { (a, b) } else { (b, a) };
        if all[from as usize].1 < all[to as usize].1 {
            pairs.insert((from, to), (1 + next(90_000), None));
            if next(12) == 0 {
                let class = if next(2) == 0 { Class::Possible } else { Class::Guarded };
                pairs.insert((from, to), (1 + next(50), Some(class)));
                pairs.insert((to, from), (1 + next(50), Some(class)));
            }
        }
    }
    let looping = |at: u32| pairs.iter().any(|((a, b), (_, class))| class.is_some() && (*a == at || *b == at));
    let names: Vec<(&str, u32, Option<u32>)> = (all.iter().enumerate())
        .map(|(at, (name, level))| (name.as_str(), *level, looping(at as u32).then_some(0)))
        .collect();
    let edges: Vec<_> = pairs.iter().map(|((a, b), (count, class))| (*a, *b, *count, *class)).collect();
    graph_of(&names, &edges)
}

fn options() -> Options {
    Options { title: "Lock order of ./server -t 4".into(), by_class: true, cycles_only: false }
}

#[test]
fn golden_graphs() {
    let (session, graph) = small();
    let fitted = Fitted::of(&graph, MOST_NODES, MOST_EDGES);
    assert_eq!(fitted.graph, graph);
    golden::check("graph.svg", &svg(&session, &fitted, &options()));
    golden::check("graph.dot", &dot(&session, &fitted, &options()));
    golden::check("graph.mmd", &mermaid(&session, &fitted, &options()));
    golden::check("graph.json", &crate::render::json::graph(&session, &graph, true));
}

#[test]
fn an_empty_graph_says_why() {
    let (session, graph) = graph_of(&[], &[]);
    let fitted = Fitted::of(&graph, 5, 5);
    assert!(svg(&session, &fitted, &options()).contains("no order to draw"));
    let only = Options { cycles_only: true, ..options() };
    assert!(svg(&session, &fitted, &only).contains("No cycle"));
    assert!(dot(&session, &fitted, &options()).ends_with("}\n"));
}

#[test]
fn what_is_left_out_is_the_least_used_and_is_told() {
    let (_, graph) = small();
    let fitted = Fitted::of(&graph, 3, 4);
    let names: Vec<_> = fitted.graph.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["acct->lock", "journal.mu", "cache.shard[3].mu"]);
    assert_eq!((fitted.nodes_left, fitted.edges_left), (2, 4));
    let notice = fitted.notice().unwrap();
    assert!(notice.starts_with("2 locks and 4 orders are left out") && notice.contains("--cycles-only"), "{notice}");
    assert_eq!(Fitted::of(&graph, 9, 9).notice(), None);
}

/// Every picture is the same twice, names what it shows, and no two boxes overlap.
#[test]
fn boxes_never_overlap() {
    for (nodes, edges, levels) in [(3, 4, 2), (12, 20, 4), (30, 60, 5), (60, 160, 7), (60, 30, 1), (40, 200, 40)] {
        let (session, graph) = random(nodes, edges, levels);
        let fitted = Fitted::of(&graph, MOST_NODES, MOST_EDGES);
        let picture = svg(&session, &fitted, &options());
        assert_eq!(picture, svg(&session, &fitted, &options()));
        let number = |text: &str, key: &str| -> f64 {
            let rest = text.split(&format!(" {key}=\"")).nth(1).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let boxes: Vec<[f64; 4]> = (picture.split("<g class=\"lock").skip(1))
            .map(|lock| lock.split("<rect").nth(1).unwrap())
            .map(|rect| ["x", "y", "width", "height"].map(|key| number(rect, key)))
            .collect();
        assert_eq!(boxes.len(), nodes);
        let width = number(&picture, "width");
        for (at, a) in boxes.iter().enumerate() {
            assert!(a[0] >= 96.0 && a[0] + a[2] <= width, "{a:?} in {width}");
            for b in &boxes[at + 1..] {
                let apart = a[0] + a[2] <= b[0] || b[0] + b[2] <= a[0] || a[1] + a[3] <= b[1] || b[1] + b[3] <= a[1];
                assert!(apart, "{a:?} {b:?}");
            }
        }
    }
}

/// Pictures to look at: `cargo test graph::tests::pictures -- --ignored` writes them to the target folder.
#[test]
#[ignore = "writes files for people to look at"]
fn pictures() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures");
    std::fs::create_dir_all(&folder).unwrap();
    let draw = |name: &str, (session, graph): (Session, Graph)| {
        let fitted = Fitted::of(&graph, MOST_NODES, MOST_EDGES);
        std::fs::write(folder.join(format!("{name}.svg")), svg(&session, &fitted, &options())).unwrap();
    };
    draw("graph-small", small());
    for (nodes, edges, levels) in [(12, 20, 4), (30, 45, 5), (60, 160, 7), (90, 400, 6)] {
        draw(&format!("graph-{nodes}"), random(nodes, edges, levels));
    }
}
