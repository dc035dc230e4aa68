// The keys of the page as a whole. Keys of a panel (arrows in the graph, Enter in a list) are that panel's; nothing here acts while
// a text is being typed or a dialog is open.

import type { Store } from "../store/store";
import { currentGraph, currentNode } from "./pointing";

export interface KeyActions {
  readonly help: () => void;
  readonly search: () => void;
}

const TYPED = "textarea, select, [contenteditable=''], [contenteditable='true']";
const NOT_TYPED = new Set(["range", "checkbox", "radio", "button", "submit", "reset", "file", "color"]);

/** Whether keys pressed there are text. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof Element)) return false;
  if (target instanceof HTMLInputElement) return !NOT_TYPED.has(target.type);
  return target.closest(TYPED) !== null;
}

export function installKeyboard(store: Store, actions: KeyActions): () => void {
  /** Grouping was begun with the key, so that releasing it ends it; begun with the button, the key changes nothing. */
  let groupingByKey = false;

  const dialogOpen = () => document.querySelector("dialog[open]") !== null;

  const command = (event: KeyboardEvent): boolean => {
    const key = event.key.toLowerCase();
    if (key === "s") {
      if (currentGraph(store) !== null && store.saveState.value !== "saving") void store.save();
      return true;
    }
    if (isTyping(event.target)) return false;
    if (key === "z" && !event.shiftKey) store.undo();
    else if (key === "y" || (key === "z" && event.shiftKey)) store.redo();
    else return false;
    return true;
  };

  const leave = (): boolean => {
    if (store.grouping.value.on) {
      groupingByKey = false;
      store.endGrouping(true);
    } else if (store.view.value.selection !== null) store.select(null);
    else if (store.query.value !== "") store.query.value = "";
    else return false;
    return true;
  };

  const onNode = (act: (id: string) => void): boolean => {
    const graph = currentGraph(store);
    const node = currentNode(store);
    if (graph === null || node === null) return false;
    act(graph.nodes[node]!.id);
    return true;
  };

  const letter = (event: KeyboardEvent): boolean => {
    switch (event.key) {
      case "/":
        actions.search();
        return true;
      case "?":
        actions.help();
        return true;
      case "g":
      case "G":
        if (currentGraph(store) === null || event.repeat || store.grouping.value.on) return false;
        groupingByKey = true;
        store.startGrouping();
        return true;
      case "p":
      case "P":
        return !event.repeat && onNode((id) => store.togglePin(id));
      case "h":
      case "H":
        return !event.repeat && onNode((id) => store.toggleHidden(id));
      default:
        return false;
    }
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.isComposing || dialogOpen()) return;
    if (event.key === "Shift") {
      if (!isTyping(event.target)) store.hold.value = true;
      return;
    }
    let done = false;
    if ((event.ctrlKey || event.metaKey) && !event.altKey) done = command(event);
    else if (event.key === "Escape") done = !isTyping(event.target) && leave();
    else if (!event.altKey && !event.ctrlKey && !event.metaKey && !isTyping(event.target)) done = letter(event);
    if (done) event.preventDefault();
  };

  const onKeyUp = (event: KeyboardEvent) => {
    if (event.key === "Shift") store.hold.value = false;
    if ((event.key === "g" || event.key === "G") && groupingByKey) {
      groupingByKey = false;
      store.endGrouping();
    }
  };

  /** A key released in another window is never heard of here: leave every mode that a key holds. */
  const onBlur = () => {
    store.hold.value = false;
    groupingByKey = false;
    if (store.grouping.value.on) store.endGrouping(true);
  };

  window.addEventListener("keydown", onKeyDown);
  window.addEventListener("keyup", onKeyUp);
  window.addEventListener("blur", onBlur);
  return () => {
    window.removeEventListener("keydown", onKeyDown);
    window.removeEventListener("keyup", onKeyUp);
    window.removeEventListener("blur", onBlur);
  };
}

/** What the help dialog lists. */
export const KEYS: readonly { readonly keys: string; readonly where: string; readonly what: string }[] = [
  { keys: "/", where: "anywhere", what: "search nodes; Enter and Shift+Enter go through the hits" },
  { keys: "Click or Enter", where: "node, line", what: "select, or deselect" },
  { keys: "Ctrl or Cmd + click", where: "node, line", what: "pin or unpin" },
  { keys: "P", where: "anywhere", what: "pin or unpin the hovered, else the selected node" },
  { keys: "H", where: "anywhere", what: "hide or show that node" },
  { keys: "Hold G, click, release", where: "link graph, subgraph, lists", what: "group nodes; Esc cancels" },
  { keys: "Shift", where: "anywhere", what: "keep what is hovered while held" },
  { keys: "Arrow keys", where: "link graph, lists", what: "move to the next node in that direction" },
  { keys: "+  −  0", where: "link graph", what: "zoom in, out, back" },
  { keys: "Esc", where: "anywhere", what: "leave a mode, clear the selection, clear the search" },
  { keys: "Ctrl+Z, Ctrl+Y", where: "anywhere", what: "undo, redo" },
  { keys: "Ctrl+S", where: "anywhere", what: "save the view into the file" },
  { keys: "?", where: "anywhere", what: "this list" },
];
