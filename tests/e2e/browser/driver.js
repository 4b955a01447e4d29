// SPDX-License-Identifier: BSD-2-Clause
// driver.js MODULES PROFILE: a headless Chromium for the tests of the page. Each line on standard input
// is {"code", "args"}: the body of an async function of page, context, args; its value is the answer.
"use strict";
const path = require("path"), readline = require("readline");
const {chromium} = require(path.join(process.argv[2], "playwright-core"));

const OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
	"--disable-background-networking", "--disable-component-update", "--disable-sync"];
const AsyncFunction = (async () => {}).constructor;

async function main() {
	const context = await chromium.launchPersistentContext(process.argv[3], {
		executablePath: process.env.CHROMIUM || "/usr/bin/chromium", headless: true, args: OPTIONS,
		viewport: {width: 1440, height: 900},
	});
	context.setDefaultTimeout(60000);
	const page = context.pages()[0] || await context.newPage(), said = [];
	page.on("console", message => said.push(message.text()));
	page.on("pageerror", error => said.push(String(error)));
	page.on("dialog", dialog => { said.push("dialog: " + dialog.message()); dialog.dismiss(); });
	const answer = value => process.stdout.write(JSON.stringify(value) + "\n");
	answer({value: "ready"});
	for await (const line of readline.createInterface({input: process.stdin})) {
		const {code, args} = JSON.parse(line);
		try {
			answer({value: await new AsyncFunction("page", "context", "args", "said", code)(page, context, args, said) ?? null});
		} catch (error) {
			answer({error: String(error.stack || error)});
		}
	}
	await context.close();
}

main().catch(error => { console.error(error); process.exit(1); });
