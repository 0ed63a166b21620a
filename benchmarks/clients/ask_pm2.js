// Asks pm2's daemon for the list again and again, by its own module; see ask_http.py.
// ask_pm2.js SECONDS, with NODE_PATH and PM2_HOME in the environment.
const pm2 = require("pm2");
const end = performance.now() + Number(process.argv[2]) * 1000;
let calls = 0;
let worst = 0;

function ask() {
  const begin = performance.now();
  pm2.list((error, list) => {
    if (error) throw error;
    worst = Math.max(worst, performance.now() - begin);
    calls += 1;
    if (performance.now() < end) return ask();
    const running = list.filter((one) => one.pm2_env.status === "online").length;
    console.log(JSON.stringify({ calls, worst_ms: worst, running }));
    pm2.disconnect();
  });
}

pm2.connect((error) => {
  if (error) throw error;
  ask();
});
