// The chance to win: a bar of the present one, and a line over the game.

const SVG = "http://www.w3.org/2000/svg";
export const COLOURS = 4; // of more players two share one, and the second's line is dashed
const WIDTH = 340, HEIGHT = 130, LEFT = 42, RIGHT = 10, TOP = 8, BOTTOM = 20;

function make(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

export function drawBalance(element, game, chances) {
  element.textContent = "";
  if (!chances) return;
  chances.forEach((chance, player) => {
    const part = document.createElement("div");
    part.className = `share player${player % COLOURS}`;
    part.style.flexGrow = Math.max(chance, 0.001);
    const whose = player === game.seat ? "You" : game.players.length === 2 && game.seat !== null ? "Agent" : `Player ${player + 1}`;
    part.textContent = chance >= 0.14 ? `${whose} ${Math.round(100 * chance)} %` : "";
    part.title = `${game.players[player]}: ${(100 * chance).toFixed(1)} %`;
    element.append(part);
  });
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", chances.map((chance, player) => `${game.players[player]} ${Math.round(100 * chance)} %`).join(", "));
}

// chances: for every position [P] or null; of two players one line says it all.
export function drawChart(element, game, chances, ply, onChoose) {
  element.textContent = "";
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Chance to win over the game" });
  const last = Math.max(chances.length - 1, 8);
  const x = (i) => LEFT + ((WIDTH - LEFT - RIGHT) * i) / last;
  const y = (chance) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - chance);
  for (const level of [0, 0.5, 1]) {
    make("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(level), y2: y(level), class: level === 0.5 ? "grid half" : "grid" }, svg);
    make("text", { x: LEFT - 5, y: y(level) + 4, class: "axis end" }, svg).textContent = `${100 * level} %`;
  }
  make("text", { x: LEFT, y: HEIGHT - 4, class: "axis" }, svg).textContent = "start";
  make("text", { x: WIDTH - RIGHT, y: HEIGHT - 4, class: "axis end" }, svg).textContent = `move ${last}`;
  make("line", { x1: x(ply), x2: x(ply), y1: TOP, y2: HEIGHT - BOTTOM, class: "now" }, svg);
  const players = game.players.length === 2 ? [game.seat ?? 0] : game.players.map((_, player) => player);
  for (const player of players) {
    const points = chances.map((chance, i) => (chance ? [x(i), y(chance[player])] : null)).filter(Boolean);
    make("polyline", { points: points.map((point) => point.join(",")).join(" "), class: `chance player${player % COLOURS}${player < COLOURS ? "" : " dashed"}` }, svg);
    const radius = chances.length > 80 ? 1.5 : 3;
    points.forEach(([cx, cy]) => make("circle", { cx, cy, r: radius, class: `dot player${player % COLOURS}` }, svg));
  }
  // Wide invisible columns are easier to hit than points.
  const width = (WIDTH - LEFT - RIGHT) / last;
  chances.forEach((chance, i) => {
    const column = make("rect", { x: x(i) - width / 2, y: TOP, width, height: HEIGHT - TOP - BOTTOM, class: "hit" }, svg);
    make("title", {}, column).textContent = chance ? `move ${i}: ${players.map((p) => `${game.players[p]} ${Math.round(100 * chance[p])} %`).join(", ")}` : `move ${i}`;
    column.addEventListener("click", () => onChoose(i));
  });
  element.append(svg);
}
