// The menu for what is done now and then: the file, exports, looks, help.

import { saveText } from "../export/csv";
import type { Store } from "../store/store";
import type { ThemeChoice } from "../styles/theme";
import { themeChoice } from "../styles/theme";
import type { DialogName } from "./dialogs";
import { Icon } from "./icons";
import type { MenuEntry } from "./menu";
import { Menu } from "./menu";
import { currentGraph } from "./pointing";

const THEMES: readonly { value: ThemeChoice; text: string }[] = [
  { value: "system", text: "As the system" },
  { value: "light", text: "Light" },
  { value: "dark", text: "Dark" },
];

export function MoreMenu({ store, onDialog }: { store: Store; onDialog: (name: DialogName) => void }) {
  const graph = currentGraph(store);
  const none = graph === null;
  const dialog = (text: string, name: DialogName, disabled = false, hint?: string): MenuEntry => ({
    kind: "item",
    text,
    disabled,
    act: () => onDialog(name),
    ...(hint === undefined ? {} : { hint }),
  });
  const entries: MenuEntry[] = [
    dialog("About this graph…", "info", none),
    dialog("Open a link…", "import"),
    dialog("Add a graph file…", "upload"),
    {
      kind: "item",
      text: "Download graph with labels",
      disabled: none,
      act: () => graph !== null && saveText(`${graph.slug}.json`, "application/json", store.download()),
    },
    dialog("Rename…", "rename", none),
    dialog("Delete…", "delete", none),
    { kind: "line" },
    { kind: "heading", text: "Theme" },
    ...THEMES.map(
      ({ value, text }): MenuEntry => ({
        kind: "radio",
        text,
        on: themeChoice.value === value,
        act: () => (themeChoice.value = value),
      }),
    ),
    { kind: "line" },
    dialog("Keys and pointer", "help", false, "?"),
  ];
  return <Menu label="More" button={<Icon name="more" />} entries={entries} testId="more" />;
}
