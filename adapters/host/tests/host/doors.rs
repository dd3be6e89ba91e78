//! Doors on this machine: whose name they answer to, and what they keep to themselves.

use crate::commands::call;
use crate::http::raw;
use crate::operate::shown;
use crate::town::{Host, adapter_config, surroundings, write_config};
use yiwang_adapter::command::{FAILED, OK};
use yiwang_tests::scene::Scene;

const PAGES: [&str; 5] = ["/live", "/ready", "/status", "/metrics", "/mappings"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_made_its_name_lead_here_reads_nothing() {
    let mut scene = Scene::new(164).await;
    scene.adapter.take().unwrap().stop().await;
    let text = std::fs::read_to_string(&scene.police.mappings[0]).unwrap();
    let constant = text.replace("R.ZXBZ = '0'", "R.ZXBZ = '0' and 'canary-constant' <> '7'");
    assert_ne!(constant, text);
    let file = scene.world.dir.path().join("person.toml");
    std::fs::write(&file, &constant).unwrap();
    scene.police.mappings = vec![file.clone()];
    let config = shown(&write_config(&scene.police, &adapter_config(&scene.police)));
    let host = Host::start(&scene.world, &scene.police, &adapter_config(&scene.police)).await;
    host.until_ready().await;
    let at = host.addresses.health.unwrap();
    let ask = async |page: &str, host: &str| {
        raw(at, format!("GET {page} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).await
    };
    for page in PAGES {
        for own in [at.to_string(), "localhost".to_owned(), format!("127.0.0.1:{}", at.port())] {
            assert_eq!(ask(page, &own).await.status, 200, "{page} {own}");
        }
        for other in [
            "rebound.example",
            "rebound.example:8481",
            "127.0.0.1.rebound.example",
            "10.0.0.1",
            "localhost@x",
        ] {
            let answer = ask(page, other).await;
            assert_eq!(answer.status, 421, "{page} {other} {answer:?}");
            assert!(!answer.body.contains("rebound") && answer.body.contains("127.0.0.1"), "{answer:?}");
        }
    }
    // A second name beside the right one, and one in the line of the request.
    for asked in [
        "GET /mappings HTTP/1.1\r\nhost: localhost\r\nhost: rebound.example\r\nconnection: close\r\n\r\n",
        "GET http://rebound.example/mappings HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    ] {
        let answer = raw(at, asked.as_bytes()).await;
        assert!(matches!(answer.status, 400 | 421), "{asked} {answer:?}");
        assert!(!answer.body.contains("police"), "{answer:?}");
    }
    // The statement without its constants; whoever has the file sees them there, and that they differ.
    let mappings = ask("/mappings", "localhost").await.body;
    assert!(mappings.contains("R.ZXBZ = '…' and '…' <> '…'") && !mappings.contains("canary"), "{mappings}");
    let address = at.to_string();
    let diff = async || {
        call(&["diff", "--config", &config, "--at", &address], surroundings(&scene.world, &scene.police))
            .await
    };
    assert_eq!(diff().await.0, OK);
    std::fs::write(&file, constant.replace("canary-constant", "canary-other")).unwrap();
    let (code, said) = diff().await;
    assert!(code == FAILED && said.contains("access_sha256 = ") && !said.contains("canary"), "{said}");
    host.stop().await;
    // The hub's door for operators keeps to the same.
    let hub = scene.world.hub().health_address;
    for (name, status) in [("localhost", 200), ("rebound.example", 421)] {
        let asked = format!("GET /stages HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        assert_eq!(raw(hub, asked.as_bytes()).await.status, status, "{name}");
    }
}
