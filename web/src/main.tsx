// The entry of the page: makes the store, draws the page, and opens what the address asks for. No behaviour lives here.

import { render } from "preact";
import { App } from "./app";
import { createStore } from "./store/create";
import { installDebug } from "./store/debug";

const page = document.getElementById("page");
if (page === null) throw new Error("index.html has no element with the id page");
const store = createStore();
installDebug(store);
render(<App store={store} />, page);
void store.start();
